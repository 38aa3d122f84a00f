r"""Iso-C, isotropic merging in the common subspace (arXiv 2502.04959).

The sum of displacements $\sum_k D_k = U \Sigma V^\top$ with all its singular values set to their mean,
$M = \bar\sigma U V^\top$.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.merge.singular_values import singular_factors
from training.merge.spectral import SpectralOperator


class IsoC(SpectralOperator):
    """Gives every direction of the summed displacement the same strength.

    The mean is over min(m, n) values; directions whose value is zero to rounding stay out of M.
    """

    name: ClassVar[str] = "iso-c"

    def merged(self, displacements: NDArray[Any], weights: tuple[float, ...]) -> NDArray[Any]:
        """The flattened sum; ``weights`` play no part."""
        left, values, right = singular_factors(np.sum(displacements, axis=0))
        merged = left @ right
        merged *= values.sum() / min(displacements.shape[1:])
        return merged
