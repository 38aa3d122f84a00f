"""A search for instances that break a claim: descent on its slack, many starts at once."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

Batch = Any
Evaluate = Callable[[Batch], tuple[NDArray[np.float64], Batch]]

STEPS = 60
"""Steps of each descent."""

LARGEST_STEP = 0.3
"""Of every number, in the unit of the standard normal draws it started from."""


def descend(evaluate: Evaluate, start: Batch) -> tuple[NDArray[np.float64], Batch]:
    """The lowest slack met on the way down from every start, and where.

    Normalised gradient descent: each row moves by its own gradient divided by that gradient's largest entry, in steps
    that shrink from `LARGEST_STEP` to a 300th of it. Rows differ in scale by orders of magnitude, and a slack is
    flat far from its minimum, so the lengths of gradients say little.

    Args:
        evaluate: slack [n] and its gradient with respect to every floating-point array of a batch of n.
        start: batch of n; integer arrays stay as they are.

    Returns:
        The lowest slack of each row, float64 [n], and the batch of rows that attain it.

    >>> lowest, where = descend(lambda x: ((x[:, 0] - 1) ** 2, 2 * (x - 1)), np.array([[0.0], [3.0]]))
    >>> where.round(1).tolist()
    [[1.0], [1.0]]
    """
    current = best = start
    lowest = np.full(len(jax.tree.leaves(start)[0]), np.inf)
    for length in np.geomspace(LARGEST_STEP, LARGEST_STEP / 300, STEPS):
        slack, gradient = evaluate(current)
        lower = slack < lowest
        lowest = np.where(lower, slack, lowest)
        best = jax.tree.map(lambda old, new, rows=lower: np.where(_beside(rows, old), new, old), best, current)
        current = _step(current, gradient, length)
    return lowest, best


def _step(batch: Batch, gradient: Batch, length: float) -> Batch:
    """Every row moved against its gradient so that its fastest number moves by ``length``."""
    gradient = jax.tree.map(lambda array: np.nan_to_num(np.asarray(array, dtype=np.float64)), gradient)
    largest = np.max([np.abs(leaf).reshape(len(leaf), -1).max(axis=1) for leaf in jax.tree.leaves(gradient)], axis=0)
    rate = length / np.where(largest > 0, largest, 1.0)
    return jax.tree.map(
        lambda array, slope: array - _beside(rate, array) * slope if np.issubdtype(array.dtype, np.floating) else array,
        batch,
        gradient,
    )


def _beside(rows: NDArray[Any], array: NDArray[Any]) -> NDArray[Any]:
    """One number per row, shaped to broadcast against an array with that leading axis."""
    return rows.reshape(-1, *[1] * (array.ndim - 1))
