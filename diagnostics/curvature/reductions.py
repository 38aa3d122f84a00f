"""Dot product and norm of vectors as long as a model, accurate to float64.

One float32 reduction over 10⁸ entries is off by a per cent, and casting both vectors whole would take four times their
memory. Chunks that stay in the processor's cache cost neither.
"""

import math

import torch
from torch import Tensor

CHUNK = 2**18
"""Entries that are cast to float64 at a time."""


def dot(one: Tensor, other: Tensor) -> float:
    """Inner product of two vectors [d], every product and every sum in float64.

    Raises:
        ValueError: the vectors are not of one length.

    >>> dot(torch.tensor([1e8, 1.0, -1e8]), torch.ones(3))
    1.0
    """
    if one.shape != other.shape or one.dim() != 1:
        raise ValueError(
            f"the dot product needs two vectors of one length, not {[*one.shape]} and {[*other.shape]}; flatten them"
        )
    total = torch.zeros((), dtype=torch.float64, device=one.device)
    for left, right in zip(one.split(CHUNK), other.split(CHUNK), strict=True):
        total += torch.dot(left.double(), right.double())
    return total.item()


def norm(vector: Tensor) -> float:
    """Euclidean norm of a vector [d], summed in float64.

    >>> norm(torch.full((4,), 2.0**100)) == 2.0**101  # the squares overflow in float32
    True
    """
    return math.sqrt(dot(vector, vector))
