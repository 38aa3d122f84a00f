"""The last step of TIES: where branches have elected a sign, only those that agree with it count."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def keep_agreeing(values: NDArray[Any], positive: NDArray[np.bool_]) -> None:
    """Set entries of ``values`` [K, n] to zero that do not have the elected sign: + where ``positive`` [n], else −.

    >>> values = np.array([[1.0, 2.0, 0.0], [3.0, -1.0, -4.0]])
    >>> keep_agreeing(values, np.array([True, False, False]))
    >>> np.abs(values).tolist()
    [[1.0, 0.0, 0.0], [3.0, 1.0, 4.0]]
    """
    for row in values:
        row *= (row > 0) == positive
