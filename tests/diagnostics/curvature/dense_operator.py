"""A matrix as an operator that counts its products: the known spectra the iterative methods are tested on."""

from collections.abc import Sequence

import torch
from torch import Tensor


class DenseOperator:
    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.products = 0

    @property
    def dimension(self) -> int:
        return len(self.matrix)

    @property
    def device(self) -> torch.device:
        return self.matrix.device

    @property
    def dtype(self) -> torch.dtype:
        return self.matrix.dtype

    def product(self, vector: Tensor) -> Tensor:
        assert vector.dtype == self.dtype
        self.products += 1
        return self.matrix @ vector


def with_spectrum(
    eigenvalues: Sequence[float] | Tensor, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[DenseOperator, Tensor]:
    """A symmetric matrix with these eigenvalues in random directions, and those directions (float64, columns)."""
    values = torch.as_tensor(eigenvalues, dtype=torch.float64)
    noise = torch.randn(len(values), len(values), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    directions = torch.linalg.qr(noise).Q
    matrix = (directions * values) @ directions.T
    return DenseOperator(((matrix + matrix.T) / 2).to(dtype)), directions
