"""What is compared: a number of each test item and its weight, so that a task's value is one sum over another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.items import Items


@dataclass(frozen=True, slots=True)
class Metric:
    """One way to score a model. A column that is added to :class:`Items` becomes a metric by an entry in ``METRICS``.

    Attributes:
        name: as on the command line.
        unit: of the values and of their differences.
        lower_is_better: which way is good.
        unseen: over the unseen tasks instead of the mixture's.
        sums: [n_items], what is added up within a task.
        weights: [n_items], by whose sum that is divided; an item of weight zero is left out.
    """

    name: str
    unit: str
    lower_is_better: bool
    unseen: bool
    sums: Callable[[Items], NDArray[Any]]
    weights: Callable[[Items], NDArray[Any]]

    def tasks(self, items: Items) -> NDArray[np.int64]:
        """Indices of the tasks that this metric is the mean over."""
        return np.flatnonzero(items.outside if self.unseen else ~items.outside)


def _loss(items: Items) -> NDArray[np.float64]:
    return items.loss


def _tokens(items: Items) -> NDArray[np.int64]:
    return items.tokens


METRICS = {
    metric.name: metric
    for metric in (
        Metric("loss", "nats", True, False, _loss, _tokens),
        Metric("unseen", "nats", True, True, _loss, _tokens),
        Metric("match", "share", False, False, lambda items: items.match, lambda items: items.match >= 0),
    )
}
