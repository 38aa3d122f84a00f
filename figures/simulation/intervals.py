"""Means over independent instances and their 95 % intervals, as arrays to draw."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.95
"""Coverage of every interval, as in the findings of the simulations."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """Means with intervals, all three float64 of one shape.

    Attributes:
        mean: over instances.
        low: lower end.
        high: upper end.
    """

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def mean_intervals(samples: ArrayLike) -> Intervals:
    """Mean over the last axis with Student's t interval.

    Args:
        samples: float [..., n], one per instance, n ≥ 2.

    >>> interval = mean_intervals([[0.0, 1.0, 2.0]])
    >>> [float(values[0].round(3)) for values in (interval.mean, interval.low, interval.high)]
    [1.0, -1.484, 3.484]
    """
    values = np.asarray(samples, dtype=np.float64)
    n = values.shape[-1]
    mean = values.mean(axis=-1)
    margin = stats.t.ppf((1 + LEVEL) / 2, n - 1) * values.std(axis=-1, ddof=1) / np.sqrt(n)
    return Intervals(mean, mean - margin, mean + margin)


def stored_intervals(found: Iterable[Mapping[str, float] | float]) -> Intervals:
    """Intervals as findings hold them; a number alone is one without width.

    >>> stored_intervals([{"mean": 1.0, "low": 0.5, "high": 1.5, "n": 8}, 2.0]).low
    array([0.5, 2. ])
    """
    ends = [
        (entry["mean"], entry["low"], entry["high"]) if isinstance(entry, Mapping) else (entry, entry, entry)
        for entry in found
    ]
    return Intervals(*np.array(ends, dtype=np.float64).T)
