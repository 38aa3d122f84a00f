"""All diagnostics over one subject, one after the other; what stands already is not measured again."""

from collections.abc import Sequence
from types import ModuleType

import torch

from diagnostics import alignment, calibration, connectivity, displacement, flatness, gain_check, landscape, losses
from diagnostics.bench import Bench
from diagnostics.cost import Meter
from diagnostics.probe import Encoding, Probe
from diagnostics.result import Result, load_result, save_result
from diagnostics.settings import DiagnosticSettings
from diagnostics.subject import Subject
from training.environment import usable_cores
from training.errors import InputError
from training.keyed_file import stored_key
from training.model.load import context_length, load_config, load_tokenizer
from training.model.loss import pack_if_possible
from training.model.network import Network
from training.progress import Progress
from training.run_directory import ReportDirectory, content_hash, folder_hash

DIAGNOSTICS: dict[str, tuple[type[Result], ModuleType]] = {
    losses.Losses.name: (losses.Losses, losses),
    gain_check.GainCheck.name: (gain_check.GainCheck, gain_check),
    connectivity.Connectivity.name: (connectivity.Connectivity, connectivity),
    displacement.Displacements.name: (displacement.Displacements, displacement),
    flatness.Flatness.name: (flatness.Flatness, flatness),
    landscape.Landscape.name: (landscape.Landscape, landscape),
    alignment.Alignment.name: (alignment.Alignment, alignment),
    calibration.Calibration.name: (calibration.Calibration, calibration),
}
"""Each diagnostic's result and module, which has ``measure`` and ``expected_tokens``; in the order of the report."""


def run_diagnostics(
    subject: Subject,
    settings: DiagnosticSettings,
    directory: ReportDirectory,
    only: Sequence[str],
    progress: Progress,
) -> list[Result]:
    """Measure what ``only`` names, everything if it is empty, and return it in the order of the report.

    Raises:
        InputError: an unknown diagnostic, models or examples that cannot be used, or a budget that is too small.
    """
    sketches = _sketch_keys(subject)
    has_sketches = None not in sketches
    for name in only:
        if name not in DIAGNOSTICS:
            raise InputError(f"there is no diagnostic {name!r}; choose among {', '.join(DIAGNOSTICS)}")
        if DIAGNOSTICS[name][0].reads_sketches and not has_sketches:
            raise InputError(
                f"{name} reads the gradient sketches of a run, and there are none; give a run with a split"
            )
    subject.checkpoints.check()
    keys = _keys(subject, settings, sketches)
    results: list[Result] = []
    possible = [name for name in DIAGNOSTICS if not DIAGNOSTICS[name][0].reads_sketches or has_sketches]
    wanted = [name for name in possible if not only or name in only]
    standing = {name: load_result(directory, DIAGNOSTICS[name][0], keys[name]) for name in wanted}
    torch.set_num_threads(usable_cores())
    with Network(subject.checkpoints.folders, subject.precision, subject.device) as network:
        bench = _bench(subject, settings, directory, network)
        for name in wanted:
            result = standing[name] or _measured(name, keys[name], bench, progress)
            results.append(result)
    return results


def _bench(subject: Subject, settings: DiagnosticSettings, directory: ReportDirectory, network: Network) -> Bench:
    pack_if_possible(network.model)
    start = subject.checkpoints.start
    limit = context_length(load_config(start), subject.max_length)
    encoding = Encoding(load_tokenizer(start), limit, settings.probe.batch_tokens)
    return Bench(
        checkpoints=subject.checkpoints,
        network=network,
        tasks=subject.tasks,
        encoding=encoding,
        probe=Probe.of(subject.tasks, "test", settings.probe.per_task, encoding),
        objective=subject.objective,
        trainable=subject.trainable,
        settings=settings,
        directory=directory,
        run=subject.run,
    )


def _measured(name: str, key: str, bench: Bench, progress: Progress) -> Result:
    _, module = DIAGNOSTICS[name]
    title = name.replace("_", " ")
    with progress.jobs("measuring", [(title, module.expected_tokens(bench))]) as bars:
        bench.meter = Meter(lambda tokens: bars.advance(0, tokens))
        result, arrays = module.measure(bench)
    save_result(bench.directory, key, result, arrays)
    progress.line(f"{title:<14} {result.cost.seconds:>8.1f} s")
    return result


def _sketch_keys(subject: Subject) -> list[str | None]:
    """What each task's gradient sketches were made from; None for a task without whole ones."""
    run = subject.run
    return [None if run is None else stored_key(run.sketches(task.name)) for task in subject.tasks]


def _keys(subject: Subject, settings: DiagnosticSettings, sketches: Sequence[str | None]) -> dict[str, str]:
    """SHA-256 of everything each diagnostic depends on, by its name."""
    checkpoints = subject.checkpoints
    models = {name: folder_hash(folder) for name, folder in checkpoints.folders.items()}
    tasks = [[task.name, task.hashes] for task in subject.tasks]
    arithmetic = [subject.objective, subject.precision, subject.trainable, subject.max_length, subject.device.type]
    chosen = settings.model_dump()
    return {
        name: content_hash(
            [models, checkpoints.weights, tasks, arithmetic]
            + [chosen[table] for table in ("seed", "bootstrap", *result.uses)]
            + ([sketches] if result.reads_sketches else [])
        )
        for name, (result, _) in DIAGNOSTICS.items()
    }
