"""Merge weights: by tokens, equal, or given."""

import math
from collections.abc import Sequence

from training.errors import InputError

SUM_TOLERANCE = 1e-6


def check_weights(weights: Sequence[float], branches: int) -> None:
    """Check that there is a finite weight for each branch and that they sum to one within 1e-6; they may be negative.

    Raises:
        InputError: they do not.
    """
    if len(weights) != branches:
        raise InputError(f"there are {len(weights)} weights for {branches} branches; give one weight per branch")
    for number, weight in enumerate(weights, 1):
        if not math.isfinite(weight):
            raise InputError(f"weight {number} is {weight}; give finite weights")
    total = math.fsum(weights)
    if abs(total - 1) > SUM_TOLERANCE:
        raise InputError(f"merge weights sum to {total:.9g}; give weights that sum to 1")


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
