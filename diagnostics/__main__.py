"""Command line: ``python -m diagnostics RUN``, or ``--start D --branch D … --merged D --data MIXTURE --out DIR``."""

import os
from pathlib import Path
from typing import Annotated

import typer

from training.command_line import console, run_command
from training.errors import InputError
from training.full_disk import full_disk_told

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure on real checkpoints whether merging was safe, and why; write one page that says so.",
)


@app.command()
def diagnose(
    run: Annotated[Path | None, typer.Argument(help="run directory")] = None,
    arm: Annotated[str | None, typer.Option(help="merged arm of the run; its first if left out")] = None,
    start: Annotated[Path | None, typer.Option(help="model folder the branches began from")] = None,
    branch: Annotated[list[Path], typer.Option(help="model folder of a branch; repeat for each")] = [],  # noqa: B006
    merged: Annotated[Path | None, typer.Option(help="model folder of the merged model")] = None,
    joint: Annotated[Path | None, typer.Option(help="model folder trained on all tasks, to compare with")] = None,
    weight: Annotated[list[float], typer.Option(help="one per branch; equal weights if left out")] = [],  # noqa: B006
    data: Annotated[str | None, typer.Option(help="mixture folder of a run, or JSONL or Parquet files")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the report; RUN/reports/ARM if left out")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="few examples, coarse grids: minutes on two cores")] = False,
    only: Annotated[list[str], typer.Option(help="measure this diagnostic alone; repeat for more")] = [],  # noqa: B006
    overrides: Annotated[list[str], typer.Option("--set", help="key.path=value, as in connectivity.points=11")] = [],  # noqa: B006
) -> None:
    """Measure, and write report.html, report.md and report.json."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: waiting threads leave the cores
    from diagnostics.checkpoints import Checkpoints
    from diagnostics.report.publish import publish
    from diagnostics.settings import load_preset
    from diagnostics.subject import from_folders, from_run
    from diagnostics.suite import run_diagnostics
    from training.merge.weights import uniform_weights
    from training.model.load import quieten_transformers
    from training.progress import Progress

    single = {"--start": start, "--merged": merged, "--data": data}
    if run is not None:
        if given := [name for name, value in (single | {"--branch": branch, "--joint": joint}).items() if value]:
            raise InputError(f"{given[0]} and a run directory exclude each other; leave one of them out")
        subject, directory = from_run(run, arm)
    else:
        if missing := [name for name, value in (single | {"--branch": branch, "--out": out}).items() if not value]:
            raise InputError(f"{missing[0]} is missing; give a run directory, or {', '.join(single)}, --branch, --out")
        assert start is not None and merged is not None and data is not None and out is not None  # noqa: PT018
        weights = tuple(weight) or uniform_weights(len(branch))
        subject, directory = from_folders(Checkpoints(start, tuple(branch), weights, merged, joint), data, out)
    if out is not None:
        directory = type(directory)(out)
    preset = "quick" if quick else "gpu" if subject.device.type == "cuda" else "cpu"
    quieten_transformers()
    shown = console()
    with full_disk_told(directory.root):
        settings = load_preset(preset, overrides)
        results = run_diagnostics(subject, settings, directory, only, Progress(shown))
        publish(subject, directory, preset, settings, results, shown)


def main() -> None:
    """Run the command line; exit codes as in :func:`training.command_line.run_command`."""
    run_command(app)


if __name__ == "__main__":
    main()
