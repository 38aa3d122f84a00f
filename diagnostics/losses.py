"""The triple that everything else explains: the branches' average loss, the merged model's, joint training's."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from diagnostics.bench import Bench
from diagnostics.resampling import Resamples, interval_of
from diagnostics.result import Arrays, Result
from training.noise import Interval


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
        gain: ``branch_average`` minus the merged loss.
        merged_minus: the merged loss minus that of each other model, by its name.
        macro_merged_minus: the same with macro losses.
    """

    name: ClassVar[str] = "losses"
    uses: ClassVar[tuple[str, ...]] = ("probe",)

    tasks: tuple[str, ...]
    items: int
    answer_tokens: int
    models: tuple[ModelLoss, ...]
    branch_average: Interval
    gain: Interval
    merged_minus: dict[str, Interval]
    macro_merged_minus: dict[str, Interval]

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
    task_values, task_draws = _task_means(resamples, sums, probe.task, len(probe.tasks))
    values, draws = resamples.mean(sums), resamples.means(sums)
    macro_values, macro_draws = task_values.mean(axis=-1), task_draws.mean(axis=-1)
    merged = names.index("merged")
    shares = np.array([dict(zip(checkpoints.branch_names, checkpoints.weights, strict=True)).get(n, 0) for n in names])
    result = Losses(
        tasks=probe.tasks,
        items=len(probe.examples),
        answer_tokens=int(probe.tokens.sum()),
        models=tuple(
            ModelLoss(
                model=name,
                loss=interval_of(values[number], draws[number]),
                macro_loss=interval_of(macro_values[number], macro_draws[number]),
                tasks=tuple(task_values[number]),
            )
            for number, name in enumerate(names)
        ),
        branch_average=interval_of(float(shares @ values), shares @ draws),
        gain=interval_of(float(shares @ values - values[merged]), shares @ draws - draws[merged]),
        merged_minus={
            name: interval_of(values[merged] - values[number], draws[merged] - draws[number])
            for number, name in enumerate(names)
            if number != merged
        },
        macro_merged_minus={
            name: interval_of(macro_values[merged] - macro_values[number], macro_draws[merged] - macro_draws[number])
            for number, name in enumerate(names)
            if number != merged
        },
        cost=bench.meter.cost(),
    )
    return result, {"models": np.array(names), "losses": sums, "task": probe.task, "tokens": probe.tokens}


def _task_means(
    resamples: Resamples, sums: NDArray[np.float64], task: NDArray[np.int64], tasks: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Loss of each model in each task [m, tasks], and the same for every draw [m, draws, tasks]."""
    member = (task[:, None] == np.arange(tasks)).astype(np.float64)
    values = (sums @ member) / (resamples.tokens @ member)
    weights = resamples.counts[:, :, None] * member
    draws = np.einsum("mi,dit->mdt", sums, weights) / np.einsum("i,dit->dt", resamples.tokens, weights)
    return values, draws
