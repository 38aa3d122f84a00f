"""The merging gain from the K×K matrix of curvature products between branches: the gain proved is the gain measured."""

import numpy as np
from numpy.typing import ArrayLike

from merit_theory.conflict import as_symmetric


def gain_from_gram(gram: ArrayLike, weights: ArrayLike) -> float:
    r"""Mean branch loss minus merged loss in a quadratic basin (Theorem 3.1/F.1), from A with A_ij = δᵢᵀHδⱼ.

    $$G = \tfrac12 \Bigl(\sum_k w_k A_{kk} - w^\top A w\Bigr)
        = \tfrac12 \sum_{i<j} w_i w_j (A_{ii} + A_{jj} - 2A_{ij})$$

    Exact for every symmetric H and all real weights with sum one; non-negative when H is positive semi-definite and no
    weight is negative. The difference cancels: its rounding error scales with Σ|w_k A_kk|, not with G.

    Args:
        gram: float [K, K], symmetric, δᵢᵀHδⱼ in nats per answer token (with losses in that unit).
        weights: float [K], the merge weights, with sum one.

    Returns:
        The gain, in the unit of ``gram``.

    >>> gain_from_gram([[4.0, -4.0], [-4.0, 4.0]], [0.5, 0.5])
    2.0
    """
    products = as_symmetric(gram)
    shares = np.asarray(weights, dtype=np.float64)
    if shares.shape != products.shape[:1]:
        raise ValueError(f"weights have shape {shares.shape}; {len(products)} branches need one each")
    if not np.isfinite(shares).all():
        raise ValueError(f"weight {np.argmin(np.isfinite(shares))} is not finite")
    if abs(shares.sum() - 1) > 1e-9 * max(1.0, np.abs(shares).sum()):
        raise ValueError(f"weights sum to {shares.sum():.9g}; a merge needs weights with sum 1")
    return float(shares @ np.diagonal(products) - shares @ products @ shares) / 2
