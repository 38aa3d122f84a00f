r"""The linear merge, the paper's: $\bar\theta = \sum_k p_k \theta_k$."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.errors import InputError

SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Linear:
    r"""Weighted average of the branches; weights may be negative but must sum to one within 1e-6.

    Computed around the branch $a$ with the largest weight, $\theta_a + \sum_k p_k (\theta_k - \theta_a)$. Branches of
    one start lie close together, so the differences are small and the result is rounded about once, even where inputs
    are as precise as the sum; where branches agree it is their common value, and a branch of weight one is unchanged.

    >>> Linear((0.25, 0.75))(np.array([[0.0, 1.0], [4.0, 1.0]], np.float32), None).tolist()
    [3.0, 1.0]
    """

    needs_start: ClassVar[bool] = False

    weights: Sequence[float]

    def __post_init__(self) -> None:
        for number, weight in enumerate(self.weights, 1):
            if not math.isfinite(weight):
                raise InputError(f"weight {number} is {weight}; give finite weights")
        total = math.fsum(self.weights)
        if abs(total - 1) > SUM_TOLERANCE:
            raise InputError(f"merge weights sum to {total:.9g}; give weights that sum to 1")

    def __call__(self, branches: NDArray[Any], start: NDArray[Any] | None) -> NDArray[Any]:
        """Average ``branches`` ([K, n]) over K, in their own memory; ``start`` is not used."""
        largest = int(np.argmax(self.weights))
        anchor = branches[largest]
        shift = None
        for k, weight in enumerate(self.weights):
            if k != largest and weight != 0:
                difference = branches[k]
                difference -= anchor
                difference *= weight
                shift = difference if shift is None else np.add(shift, difference, out=shift)
        return anchor if shift is None else np.add(anchor, shift, out=shift)


def token_weights(tokens: Sequence[int]) -> tuple[float, ...]:
    """Weights proportional to the tokens each branch was trained on.

    >>> token_weights([300, 100])
    (0.75, 0.25)

    Raises:
        InputError: a count is negative, or all are zero.
    """
    total = sum(tokens)
    if min(tokens, default=0) < 0 or total == 0:
        raise InputError(f"token counts {list(tokens)} give no weights; give counts that are positive")
    return tuple(count / total for count in tokens)


def uniform_weights(branches: int) -> tuple[float, ...]:
    """Equal weights for a number of branches.

    >>> uniform_weights(4)
    (0.25, 0.25, 0.25, 0.25)

    Raises:
        InputError: there is no branch.
    """
    return token_weights([1] * branches)
