"""Per-item results of one model, and the per-task numbers that follow from them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Items:
    """Per-item results of one model, read back.

    Attributes:
        tasks: names of the tasks, those of the mixture first.
        outside: [n_tasks] bool, which of them are unseen.
        task: [n_items] int64, the task of each item.
        loss: [n_items] float64, nats summed over the item's answer tokens.
        tokens: [n_items] int64, answer tokens.
        correct: [n_items] int64, answer tokens that were most likely.
        match: [n_items] int8, whether the generated answer is right; -1 where none was generated.
    """

    tasks: tuple[str, ...]
    outside: NDArray[np.bool_]
    task: NDArray[np.int64]
    loss: NDArray[np.float64]
    tokens: NDArray[np.int64]
    correct: NDArray[np.int64]
    match: NDArray[np.int8]

    def per_task(self, values: NDArray[Any], where: Iterable[bool] | None = None) -> NDArray[np.float64]:
        """Sum of ``values`` [n_items] in each task, optionally over the items chosen by ``where``."""
        chosen = slice(None) if where is None else np.asarray(where)
        weights = np.asarray(values[chosen], dtype=np.float64)
        return np.bincount(self.task[chosen], weights=weights, minlength=len(self.tasks)).astype(np.float64)

    @property
    def task_losses(self) -> NDArray[np.float64]:
        """Answer loss of each task in nats per answer token [n_tasks]."""
        return self.per_task(self.loss) / self.per_task(self.tokens)

    @property
    def task_accuracy(self) -> NDArray[np.float64]:
        """Share of each task's answer tokens that were most likely [n_tasks]."""
        return self.per_task(self.correct) / self.per_task(self.tokens)

    @property
    def task_match(self) -> NDArray[np.float64]:
        """Share of generated answers that are right [n_tasks]; NaN where none was generated."""
        generated = self.match >= 0
        with np.errstate(invalid="ignore"):
            return self.per_task(self.match, generated) / self.per_task(np.ones(len(self.match)), generated)


def load_items(path: Path) -> Items:
    """Read ``evaluation/NAME.npz``."""
    with np.load(path) as file:
        columns = {name: file[name] for name in ("outside", "task", "loss", "tokens", "correct", "match")}
        return Items(tasks=tuple(file["tasks"].tolist()), **columns)
