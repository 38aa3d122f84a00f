"""One root seed per run; every other seed is a child of it, by SHA-256 of (root, purpose, index)."""

import hashlib

import numpy as np


def child_seed(root: int, purpose: str, index: int | str = 0) -> int:
    """A 63-bit seed that depends on nothing but its arguments.

    >>> child_seed(0, "order", 1) == child_seed(0, "order", 1)
    True
    >>> child_seed(0, "order", 1) == child_seed(0, "order", 2)
    False
    """
    digest = hashlib.sha256(f"{root}\x00{purpose}\x00{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def child_generator(root: int, purpose: str, index: int | str = 0) -> np.random.Generator:
    """A NumPy generator seeded with :func:`child_seed`."""
    return np.random.Generator(np.random.Philox(child_seed(root, purpose, index)))
