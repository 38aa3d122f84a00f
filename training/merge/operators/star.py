r"""STAR, spectral truncation and rescaling (arXiv 2502.10339).

Of each displacement $D_k = U \Sigma V^\top$ the first
$r = 1 + \#\{i : \sum_{j \le i} \sigma_j < \eta \sum_j \sigma_j\}$ directions stay, scaled by
$\sum_j \sigma_j / \sum_{j \le r} \sigma_j$ so that the nuclear norm does; then the weighted mean,
$\theta^0 + \sum_k p_k \tilde D_k$.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.merge.singular_values import singular_factors
from training.merge.spectral import SpectralOperator


class Star(SpectralOperator):
    """Truncates what each branch did to its strongest directions, rescales it and averages.

    Attributes:
        kept: η, the share of the nuclear norm below which directions are kept.
    """

    name: ClassVar[str] = "star"

    kept: float = Field(default=0.4, gt=0, le=1)

    def merged(self, displacements: NDArray[Any], weights: tuple[float, ...]) -> NDArray[Any]:
        """Weighted mean of the truncated displacements."""
        total = np.zeros_like(displacements[0])
        for displacement, weight in zip(displacements, weights, strict=True):
            left, values, right = singular_factors(displacement)
            rank = 1 + int((np.cumsum(values) < self.kept * values.sum()).sum())
            if values.size:
                factor = weight * values.sum() / values[:rank].sum()
                total += (left[:, :rank] * (factor * values[:rank])) @ right[:rank]
        return total
