"""The triple that everything else explains: the branches' average loss, the merged model's, joint training's."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from diagnostics.bench import Bench
from diagnostics.resampling import Resamples, interval_of
from diagnostics.result import Arrays, Result
from training.evaluation.noise import Interval


class ModelLoss(BaseModel):
    """Loss of one model, in nats per answer token.

    Attributes:
        model: a name of :attr:`diagnostics.checkpoints.Checkpoints.folders`.
        loss: over all items, Σ losses / Σ answer tokens.
        macro_loss: mean over tasks of the same within each.
        tasks: loss within each task, in the probe's order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    loss: Interval
    macro_loss: Interval
    tasks: tuple[float, ...]


class Losses(Result):
    """Losses of all models on the same items.

    Attributes:
        tasks: names.
        items: how many were measured.
        answer_tokens: of all of them.
        models: start, branches, merged, and joint where there is one.
        branch_average: the branches' losses, averaged with the merge's weights.
        macro_branch_average: the same with macro losses.
        branch_average_tasks: the same within each task.
        gain: ``branch_average`` minus the merged loss.
        macro_gain: the same with macro losses.
        task_gains: the same within each task.
        merged_minus: the merged loss minus that of each other model, by its name.
        macro_merged_minus: the same with macro losses.
        task_merged_minus: the same within each task.
    """

    name: ClassVar[str] = "losses"
    uses: ClassVar[tuple[str, ...]] = ("probe",)

    tasks: tuple[str, ...]
    items: int
    answer_tokens: int
    models: tuple[ModelLoss, ...]
    branch_average: Interval
    macro_branch_average: Interval
    branch_average_tasks: tuple[float, ...]
    gain: Interval
    macro_gain: Interval
    task_gains: tuple[Interval, ...]
    merged_minus: dict[str, Interval]
    macro_merged_minus: dict[str, Interval]
    task_merged_minus: dict[str, tuple[Interval, ...]]

    def of(self, model: str) -> ModelLoss:
        """The loss of the model with this name."""
        return next(entry for entry in self.models if entry.model == model)


def expected_tokens(bench: Bench) -> int:
    """Forward tokens that :func:`measure` takes."""
    return len(bench.checkpoints.folders) * bench.probe.input_tokens


def measure(bench: Bench) -> tuple[Losses, Arrays]:
    """Evaluate every checkpoint on the probe.

    Raises:
        InputError: a model's loss is not finite.
    """
    checkpoints, probe, resamples = bench.checkpoints, bench.probe, bench.resamples
    names = list(checkpoints.folders)
    sums = np.stack([bench.losses_at({name: 1.0}) for name in names])
    weights = dict(zip(checkpoints.branch_names, checkpoints.weights, strict=True))
    shares = np.array([weights.get(name, 0.0) for name in names])
    single = dict(zip(names, np.eye(len(names)), strict=True))
    gain = shares - single["merged"]
    minus = {name: single["merged"] - row for name, row in single.items() if name != "merged"}

    # Models are combined before they are averaged over items, so that equal ones differ by exactly nothing.
    def overall(row: NDArray[np.float64]) -> Interval:
        combined = row @ sums
        return interval_of(float(resamples.mean(combined)), resamples.means(combined))

    def macro(row: NDArray[np.float64]) -> Interval:
        value, draws = _task_means(resamples, row @ sums, probe.task, len(probe.tasks))
        return interval_of(float(value.mean()), draws.mean(axis=1))

    def within(row: NDArray[np.float64]) -> tuple[Interval, ...]:
        values, draws = _task_means(resamples, row @ sums, probe.task, len(probe.tasks))
        return tuple(interval_of(float(value), own) for value, own in zip(values, draws.T, strict=True))

    def by_task(row: NDArray[np.float64]) -> tuple[float, ...]:
        return tuple(interval.value for interval in within(row))

    result = Losses(
        tasks=probe.tasks,
        items=len(probe.examples),
        answer_tokens=int(probe.tokens.sum()),
        models=tuple(
            ModelLoss(
                model=name,
                loss=overall(single[name]),
                macro_loss=macro(single[name]),
                tasks=by_task(single[name]),
            )
            for name in names
        ),
        branch_average=overall(shares),
        macro_branch_average=macro(shares),
        branch_average_tasks=by_task(shares),
        gain=overall(gain),
        macro_gain=macro(gain),
        task_gains=within(gain),
        merged_minus={name: overall(row) for name, row in minus.items()},
        macro_merged_minus={name: macro(row) for name, row in minus.items()},
        task_merged_minus={name: within(row) for name, row in minus.items()},
        cost=bench.meter.cost(),
    )
    return result, {"models": np.array(names), "losses": sums, "task": probe.task, "tokens": probe.tokens}


def _task_means(
    resamples: Resamples, sums: NDArray[np.float64], task: NDArray[np.int64], tasks: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of ``sums`` [n_items] within each task [tasks], and the same for every draw [draws, tasks]."""
    member = (task[:, None] == np.arange(tasks)).astype(np.float64)
    values = (sums @ member) / (resamples.tokens @ member)
    return values, ((resamples.counts * sums) @ member) / ((resamples.counts * resamples.tokens) @ member)
