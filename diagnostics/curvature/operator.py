"""What Lanczos multiplies: a symmetric matrix known only by its products with vectors."""

from typing import Protocol

import torch
from torch import Tensor


class CurvatureOperator(Protocol):
    """A symmetric linear operator on vectors of ``dimension`` entries.

    Read-only properties, so that plain attributes and frozen dataclasses satisfy it.
    """

    @property
    def dimension(self) -> int:
        """Entries of a vector."""
        ...

    @property
    def device(self) -> torch.device:
        """Where vectors live."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of vectors."""
        ...

    def product(self, vector: Tensor) -> Tensor:
        """The operator times ``vector`` [dimension], a new tensor of the same shape, dtype and device."""
        ...
