"""How much of a difference between arms is noise: paired bootstrap over test items within tasks.

This covers the choice of test items and nothing else. Another seed, another partition or another mixture of tasks adds
noise of its own, which one run cannot show.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluation.items import Items

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    @property
    def separates_from_zero(self) -> bool:
        """Whether zero is outside the interval."""
        return self.low > 0 or self.high < 0


class MacroLosses:
    """Bootstrap draws of the macro mean loss of several models on the same items of the mixture's tasks."""

    def __init__(self, models: Sequence[Items], draws: int, generator: np.random.Generator) -> None:
        first = models[0]
        assert all(np.array_equal(first.task, model.task) for model in models), "models were evaluated on other items"
        inside = np.flatnonzero(~first.outside)
        self.values = np.array([model.task_losses[inside].mean() for model in models])
        self._draws = np.zeros((draws, len(models)))
        for task in inside:
            items = np.flatnonzero(first.task == task)
            counts = generator.multinomial(len(items), np.full(len(items), 1 / len(items)), size=draws)
            tokens = counts @ first.tokens[items]
            losses = counts @ np.stack([model.loss[items] for model in models], axis=1)
            self._draws += losses / tokens[:, None] / len(inside)

    def of(self, model: int) -> Interval:
        """Loss of one model."""
        return self._interval(self.values[model], self._draws[:, model])

    def difference(self, model: int, other: int) -> Interval:
        """Loss of ``model`` minus loss of ``other``, on the same draws of items."""
        return self._interval(self.values[model] - self.values[other], self._draws[:, model] - self._draws[:, other])

    @staticmethod
    def _interval(value: float, draws: NDArray[np.float64]) -> Interval:
        low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(float(value), float(low), float(high))
