"""bfloat16 as bit patterns: NumPy has no such dtype, but it is the upper half of a float32."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

QUIET_NAN = 0x7FC0


def widen(bits: NDArray[np.uint16], out: NDArray[np.float32]) -> None:
    """Write the exact values of bfloat16 ``bits`` ([n]) to ``out`` ([n]).

    >>> values = np.empty(2, np.float32)
    >>> widen(np.array([0x3F80, 0xC000], np.uint16), values)
    >>> values.tolist()
    [1.0, -2.0]
    """
    np.left_shift(bits, 16, out=out.view(np.uint32), dtype=np.uint32)


def narrow(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round float32 ``values`` ([n]) to the nearest bfloat16, ties to even; every NaN becomes the quiet NaN.

    >>> tie_down, tie_up = 1 + 2**-8, 1 + 3 * 2**-8
    >>> [hex(bits) for bits in narrow(np.array([tie_down, tie_up, np.inf, np.nan], np.float32))]
    ['0x3f80', '0x3f82', '0x7f80', '0x7fc0']
    """
    bits: NDArray[Any] = values.view(np.uint32)
    # Adding 0x7FFF carries into the upper half above a tie; adding that half's last bit too carries from odd at a tie.
    rounded = bits >> 16
    rounded &= 1
    rounded += 0x7FFF
    rounded += bits
    rounded >>= 16
    narrowed = rounded.astype(np.uint16)
    # The carry could turn a NaN into an infinity or wrap it round to zero.
    nan = np.isnan(values)
    if nan.any():
        narrowed[nan] = QUIET_NAN
    return narrowed
