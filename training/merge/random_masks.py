"""Random masks that depend on nothing but their seed and the place of each element."""

import numpy as np
from numpy.typing import NDArray

from training.seeds import child_seed

PER_COUNTER = 8
"""32-bit numbers that Philox makes of one counter."""


def random_mask(density: float, seed: int, branch: int, tensor: str, begin: int, size: int) -> NDArray[np.bool_]:
    """Whether each of ``size`` elements from number ``begin`` on is kept: independently, with probability ``density``.

    An element's bit is a pure function of the seed, the branch's number, the tensor's name and the element's number
    within the flattened tensor: one Philox stream per branch and tensor, one 32-bit number per element. So masks do not
    depend on chunks or threads. The probability is rounded to a multiple of 2⁻³².

    >>> whole = random_mask(0.5, 0, 1, "w", 0, 100)
    >>> bool((random_mask(0.5, 0, 1, "w", 37, 50) == whole[37:87]).all())
    True
    """
    counter, skipped = divmod(begin, PER_COUNTER)
    stream = np.random.Philox(child_seed(seed, f"mask of branch {branch}", tensor))
    stream.advance(counter)
    words = stream.random_raw(-(-(skipped + size) // 2)).astype("<u8", copy=False).view("<u4")
    return words[skipped : skipped + size] < round(density * 2**32)
