"""Does one number order the splits as another does? Spearman's rank correlation, many instances at once."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata


def rank_correlation(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Spearman's rank correlation along the last axis; ties share their mean rank.

    Args:
        first: float [..., n], n ≥ 2, not constant along the last axis.
        second: float of the same shape.

    Returns:
        float64 [...] in [-1, 1].

    Raises:
        ValueError: shapes differ, or values are constant along the last axis and have no order.

    >>> rank_correlation([1.0, 2.0, 9.0], [0.0, -1.0, -5.0]).item()
    -1.0
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape or one.ndim == 0 or one.shape[-1] < 2:
        raise ValueError(f"values have shapes {one.shape} and {other.shape}; expected the same [..., n] with n ≥ 2")
    if (np.ptp(one, axis=-1) == 0).any() or (np.ptp(other, axis=-1) == 0).any():
        raise ValueError("all values of an instance are equal; ranks need values that differ")
    ranks = [rankdata(values, axis=-1) - (one.shape[-1] + 1) / 2 for values in (one, other)]
    covariance = (ranks[0] * ranks[1]).sum(axis=-1)
    return covariance / np.sqrt((ranks[0] ** 2).sum(axis=-1) * (ranks[1] ** 2).sum(axis=-1))
