"""Are there enough calibration examples, and do sketches keep the tasks' cosines (Tables 11 and 16)?

The first question is answered from the sketches that the run kept of every micro-batch; the second by the uncompressed
gradients of the same examples at the start, beside the paper's compression, which keeps every fifth entry.
"""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import spearmanr

from diagnostics.bench import Bench
from diagnostics.calibration_curve import SizeCurve, expected_cosine, size_curve
from diagnostics.full_gradients import full_gram_matrices, gradient_passes
from diagnostics.resampling import interval_of
from diagnostics.result import Arrays, Result
from diagnostics.task_gradients import PASSES_PER_GRADIENT
from merit_theory.conflict import cosine_from_gram, gram_matrix
from training.errors import InputError
from training.evaluation.noise import Interval
from training.model.batching import Example, encode
from training.run_directory import RunDirectory, read_json

STRIDE = 5
"""Of the paper's compression."""
SIZES = (50, 100, 200, 500, 1000)
"""Examples that cosines are expected for by extrapolation; the paper reports sizes from 50 to 1000."""
FEWEST_FOR_FIDELITY = 3
"""Tasks: two have one cosine, and correlations need several."""


class Numbers(BaseModel):
    """Base of the parts of the result."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SizePoint(Numbers):
    """Mean over tasks of the cosines at one size; intervals over tasks.

    Attributes:
        micro_batches: how many make the part.
        examples: in them, mean over tasks.
        with_rest: with the mean gradient of the other micro-batches.
        with_signal: with the gradient of infinitely many examples; None where no task has measurable signal.
    """

    micro_batches: int
    examples: float
    with_rest: Interval
    with_signal: Interval | None


class ExpectedPoint(Numbers):
    """Cosine with the gradient of infinitely many examples that reliabilities lead to expect at a size."""

    examples: float
    with_signal: Interval


class Agreement(Numbers):
    """How cosines of compressed gradients agree with those of whole ones, over pairs of tasks.

    Correlations are None where all cosines of one kind are equal.
    """

    pearson: float | None
    spearman: float | None
    mean_absolute: float
    root_mean_square: float


class Fidelity(Numbers):
    """What compression does to the tasks' cosines.

    Attributes:
        tasks: whose gradients were computed whole.
        sketch_size: entries of the run's sketches.
        sketch: of the run's own cosines.
        stride: of every fifth entry.
    """

    tasks: tuple[str, ...]
    sketch_size: int
    sketch: Agreement
    stride: Agreement


class Calibration(Result):
    """Calibration size and fidelity of sketches.

    Attributes:
        tasks: names.
        without_signal: tasks whose gradient the noise estimate alone explains; they count in ``with_rest`` only.
        examples: calibration rows of the task that has fewest.
        curve: cosines over the number of micro-batches.
        all_examples: expected at the present size of every task; None where no task has measurable signal.
        expected: the same at other sizes.
        fidelity: None where too few tasks were asked for.
    """

    name: ClassVar[str] = "calibration"
    uses: ClassVar[tuple[str, ...]] = ("calibration",)
    reads_sketches: ClassVar[bool] = True

    tasks: tuple[str, ...]
    without_signal: tuple[str, ...]
    examples: int
    curve: tuple[SizePoint, ...]
    all_examples: Interval | None
    expected: tuple[ExpectedPoint, ...]
    fidelity: Fidelity | None


def expected_tokens(bench: Bench) -> int:
    """Forward tokens that the whole gradients take; the rest is read from files."""
    examples = _examples(bench)
    if len(examples) < FEWEST_FOR_FIDELITY:
        return 0
    passes = len(gradient_passes(bench, len(examples), bench.settings.calibration.budget_gb))
    return PASSES_PER_GRADIENT * passes * sum(len(example) for own in examples for example in own)


def measure(bench: Bench) -> tuple[Calibration, Arrays]:
    """Read the run's sketches, and take whole gradients at the start.

    Raises:
        InputError: there is no run, its files do not fit together, or a gradient is not finite.
    """
    run = bench.run
    if run is None:
        raise InputError("calibration reads the gradient sketches of a run; give a run directory")
    names = tuple(task.name for task in bench.tasks)
    rows = np.array([task.counts["calibration"] for task in bench.tasks], dtype=np.float64)
    curves, counts = _curves(bench, run)
    shortest = min(counts)
    rest, along = (
        np.array([getattr(curve, which)[: shortest - 1] for curve in curves]) for which in ("with_rest", "with_signal")
    )
    reliability = np.array([curve.reliability for curve in curves])
    signal = reliability > 0
    each = (rows / counts).mean()
    fidelity, arrays = _fidelity(bench, run)
    result = Calibration(
        tasks=names,
        without_signal=tuple(name for name, has in zip(names, signal, strict=True) if not has),
        examples=int(rows.min()),
        curve=tuple(
            SizePoint(
                micro_batches=size,
                examples=float(size * each),
                with_rest=_over_tasks(bench, rest[:, size - 1]),
                with_signal=_over_tasks(bench, along[signal, size - 1]) if signal.any() else None,
            )
            for size in range(1, shortest)
        ),
        all_examples=_over_tasks(bench, np.sqrt(reliability[signal])) if signal.any() else None,
        expected=tuple(
            ExpectedPoint(
                examples=size,
                with_signal=_over_tasks(bench, expected_cosine(reliability[signal], rows[signal], size)),
            )
            for size in SIZES
            if signal.any()
        ),
        fidelity=fidelity,
        cost=bench.meter.cost(),
    )
    curve_arrays = {"with_rest": rest, "with_signal": along, "reliability": reliability, "micro_batches": counts}
    return result, {"tasks": np.array(names), **curve_arrays, **arrays}


def _curves(bench: Bench, run: RunDirectory) -> tuple[list[SizeCurve], NDArray[np.int64]]:
    """Each task's curve, and how many micro-batches it has; one task's sketches are in memory at a time."""
    curves, counts = [], []
    for task in bench.tasks:
        with np.load(run.sketches(task.name)) as file:
            gram, tokens = gram_matrix(file["sums"]), file["counts"].astype(np.float64)
        generator = bench.generator("calibration splits", task.name)
        orders = np.array([generator.permutation(len(tokens)) for _ in range(bench.settings.calibration.splits)])
        curves.append(size_curve(gram, tokens, orders))
        counts.append(len(tokens))
    return curves, np.array(counts)


def _over_tasks(bench: Bench, values: NDArray[np.float64]) -> Interval:
    """Mean with its interval over draws of tasks."""
    draws = bench.generator("calibration tasks").integers(len(values), size=(bench.settings.bootstrap, len(values)))
    return interval_of(values.mean(), values[draws].mean(axis=1))


def _examples(bench: Bench) -> list[list[Example]]:
    """All calibration examples, which the run's sketches are of, of the first tasks."""
    encoding = bench.encoding
    return [
        encode(task.rows("calibration"), encoding.tokenizer, encoding.max_length, task.name)
        for task in bench.tasks[: bench.settings.calibration.tasks]
    ]


def _fidelity(bench: Bench, run: RunDirectory) -> tuple[Fidelity | None, Arrays]:
    examples = _examples(bench)
    if len(examples) < FEWEST_FOR_FIDELITY:
        return None, {}
    names = tuple(task.name for task in bench.tasks[: len(examples)])
    conflicts = read_json(run.conflicts)
    missing = next((name for name in names if name not in conflicts["tasks"]), None)
    if missing:
        raise InputError(f"{run.conflicts} lacks task {missing!r}; run the recipe again")
    places = [conflicts["tasks"].index(name) for name in names]
    bench.network.move_to({"start": 1.0})
    grams = full_gram_matrices(bench, examples, names, STRIDE, bench.settings.calibration.budget_gb)
    pairs = np.triu_indices(len(names), 1)
    full, stride = (cosine_from_gram(gram)[pairs] for gram in grams)
    sketch = np.array(conflicts["cosine"])[np.ix_(places, places)][pairs]
    fidelity = Fidelity(
        tasks=names,
        sketch_size=conflicts["size"],
        sketch=agreement(sketch, full),
        stride=agreement(stride, full),
    )
    return fidelity, {"full_cosines": full, "sketch_cosines": sketch, "stride_cosines": stride}


def agreement(compressed: NDArray[np.float64], full: NDArray[np.float64]) -> Agreement:
    """Of cosines [pairs] of compressed gradients with those of whole ones.

    >>> agreement(np.array([0.1, 0.2, 0.4]), np.array([0.0, 0.1, 0.3])).mean_absolute
    0.10000000000000002
    """
    errors = compressed - full
    varies = min(np.ptp(compressed), np.ptp(full)) > 0
    return Agreement(
        pearson=float(np.corrcoef(compressed, full)[0, 1]) if varies else None,
        spearman=float(spearmanr(compressed, full).statistic) if varies else None,
        mean_absolute=float(np.abs(errors).mean()),
        root_mean_square=float(np.sqrt((errors**2).mean())),
    )
