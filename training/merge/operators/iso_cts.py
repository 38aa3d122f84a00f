r"""Iso-CTS, isotropic merging in common and task-specific subspaces (arXiv 2502.04959).

The top c directions of $\sum_k D_k$ are common, the top n of each $(I - U_c U_c^\top) D_k$ are the branch's own, with
$c + Kn = \min(m, n)$ and c near the share f of it. All side by side, branches first; both frames made orthonormal by
their polar factors; every singular value replaced by the mean of all, $M = \bar\sigma U_\perp V_\perp^\top$.

Only left vectors are projected, so a matrix and its transpose merge differently; ours are as PyTorch stores them,
outputs by inputs.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from training.merge.singular_values import polar_factor, singular_factors
from training.merge.spectral import SpectralOperator


class IsoCts(SpectralOperator):
    """Gives common and branch-specific directions the same strength.

    Attributes:
        common: f, the share of directions that are common.
    """

    name: ClassVar[str] = "iso-cts"

    common: float = Field(default=0.8, ge=0, le=1)

    def merged(self, displacements: NDArray[Any], weights: tuple[float, ...]) -> NDArray[Any]:
        """The flattened union of subspaces; ``weights`` play no part."""
        count, size = len(displacements), min(displacements.shape[1:])
        own = round((size - int(size * self.common)) / count)
        left, values, right = singular_factors(np.sum(displacements, axis=0), max(size - own * count, 0))
        lefts, strengths, rights = [], [], []
        for displacement in displacements:
            outside = displacement - left @ (left.T @ displacement)
            branch_left, branch_values, branch_right = singular_factors(outside, own)
            lefts.append(branch_left)
            strengths.append(branch_values)
            rights.append(branch_right)
        frame, opposite = np.concatenate([*lefts, left], axis=1), np.concatenate([*rights, right])
        merged = polar_factor(frame) @ polar_factor(opposite.T).T
        merged *= np.concatenate([*strengths, values]).sum() / size
        return merged
