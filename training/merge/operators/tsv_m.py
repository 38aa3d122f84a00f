r"""TSV-M, merging by task singular vectors (arXiv 2412.00081).

Of each displacement the first $\lfloor \min(m, n) / K \rfloor$ singular directions; those of all branches side by side,
$\hat U, \hat S, \hat V$; both frames made orthonormal by their polar factors, $M = U_\perp \hat S V_\perp^\top$. A sum
over branches, so that the scale α wants tuning on validation data.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.merge.singular_values import polar_factor, singular_factors
from training.merge.spectral import SpectralOperator


class TsvM(SpectralOperator):
    """Adds up the branches' strongest directions, turned so that they do not interfere."""

    name: ClassVar[str] = "tsv-m"

    def merged(self, displacements: NDArray[Any], weights: tuple[float, ...]) -> NDArray[Any]:
        """The sum of decorrelated directions; ``weights`` play no part."""
        rank = max(1, min(displacements.shape[1:]) // len(displacements))
        factors = [singular_factors(displacement, rank) for displacement in displacements]
        left = np.concatenate([own for own, _, _ in factors], axis=1)
        values = np.concatenate([own for _, own, _ in factors])
        right = np.concatenate([own for _, _, own in factors])
        return (polar_factor(left) * values) @ polar_factor(right.T).T
