"""Unit vectors of a model's size, kept within a budget of memory: what Lanczos stores and sums over."""

import math
from typing import Self

import torch
from torch import Tensor

CHUNK_ELEMENTS = 2**18
"""Stored entries that are cast to float64 at a time; beyond the cache the casts take six times as long as the sums."""
STORAGES = (torch.float16, torch.float32, torch.float64)


class Basis:
    r"""A growing list of vectors of norm at most one, in float16, float32 or float64, on host or device.

    In float16 a vector is stored times the power of two next below $\sqrt n$: its typical entry is then of order one,
    and an entry of one still fits. A stored unit vector is off by about 2e-4 of its norm. Sums over coordinates run
    in chunks in float64, because float32 sums over 10⁸ terms are wrong by percents.

    >>> basis = Basis(capacity=2, dimension=4, storage=torch.float16)
    >>> basis.append(torch.tensor([0.5, 0.5, 0.5, 0.5]))
    >>> basis.dots(torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist()
    [5.0]

    Args:
        capacity: how many vectors fit; the memory is taken at once.
        dimension: length of each vector.
        storage: dtype of the stored numbers.
        device: where they are stored; sums are done on the device of the vector they meet.

    Raises:
        ValueError: ``storage`` is none of the three, or the dimension exceeds what scaled float16 can hold.
    """

    def __init__(
        self,
        capacity: int,
        dimension: int,
        storage: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if storage not in STORAGES:
            raise ValueError(f"storage {storage} is not supported; take torch.float16, torch.float32 or torch.float64")
        if storage == torch.float16 and dimension >= 2**32:
            raise ValueError(f"dimension {dimension} is too large for scaled float16; store float32")
        self.rows = torch.empty(capacity, dimension, dtype=storage, device=device)
        self.count = 0
        self.scale = 2.0 ** (math.floor(math.log2(dimension)) // 2) if storage == torch.float16 else 1.0

    @classmethod
    def within(
        cls,
        budget_gb: float,
        least: int,
        most: int,
        dimension: int,
        storage: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Self:
        """The largest basis of at most ``most`` vectors that takes no more than ``budget_gb`` · 10⁹ bytes.

        Raises:
            ValueError: fewer than ``least`` vectors fit.
        """
        bytes_each = dimension * storage.itemsize
        fits = int(budget_gb * 1e9 // bytes_each)
        if fits < least:
            raise ValueError(
                f"{budget_gb:g} GB hold {fits} vectors of {dimension} {storage} numbers, and {least} are needed; "
                f"allow {least * bytes_each / 1e9:.3g} GB or store fewer bytes a number"
            )
        return cls(min(fits, most), dimension, storage, device)

    def append(self, vector: Tensor) -> None:
        """Store ``vector`` ([n], norm at most one) after the others."""
        self.rows[self.count] = vector * self.scale
        self.count += 1

    def vector(self, index: int, like: Tensor) -> Tensor:
        """Vector ``index`` ([n]) in the dtype and on the device of ``like``."""
        return self.rows[index].to(device=like.device, dtype=like.dtype) / self.scale

    def dots(self, vector: Tensor) -> Tensor:
        """Products of all stored vectors with ``vector`` ([n]): float64 [count], on the host."""
        total = torch.zeros(self.count, dtype=torch.float64, device=vector.device)
        for part in self._chunks():
            total += self._block(part, vector.device) @ vector[part].double()
        return (total / self.scale).cpu()

    def subtract(self, coefficients: Tensor, vector: Tensor) -> None:
        """Subtract the combination Σᵢ cᵢ vᵢ (``coefficients``: float64 [count]) from ``vector`` ([n]) in its memory."""
        factors = (coefficients / self.scale).to(vector.device)
        for part in self._chunks():
            vector[part] = vector[part].double() - factors @ self._block(part, vector.device)

    def rotate(self, coefficients: Tensor) -> None:
        """Replace the first m vectors by the k ≤ m combinations in the columns of ``coefficients`` (float64 [m, k]).

        Nothing but one chunk is copied. Vectors stored after the first m move up behind the combinations.
        """
        old, new = coefficients.shape
        mixing = coefficients.T.to(self.rows.device)
        for part in self._chunks():
            self.rows[:new, part] = (mixing @ self.rows[:old, part].double()).to(self.rows.dtype)
        for offset in range(self.count - old):
            self.rows[new + offset] = self.rows[old + offset]
        self.count += new - old

    def _chunks(self) -> list[slice]:
        width = max(1, CHUNK_ELEMENTS // max(1, self.count))
        return [slice(start, start + width) for start in range(0, self.rows.shape[1], width)]

    def _block(self, part: slice, device: torch.device) -> Tensor:
        return self.rows[: self.count, part].to(device).double()
