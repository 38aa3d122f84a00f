"""How a direction's squared length spreads over an operator's spectrum: is it sharp, flat, or both?"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diagnostics.curvature.basis import Basis
from diagnostics.curvature.lanczos_state import LanczosState
from diagnostics.curvature.operator import CurvatureOperator
from diagnostics.curvature.reductions import norm


@dataclass(frozen=True, slots=True)
class DirectionMass:
    r"""Gauss quadrature of $\sum_\ell (u_\ell^\top \hat u)^2 \delta_{\lambda_\ell}$, the spectral measure of a unit û.

    Attributes:
        curvature: ûᵀHû, in the operator's unit.
        length: norm of the direction given; uᵀHu is ``curvature`` times its square.
        nodes: float64 [m], ascending, in the operator's unit.
        weights: float64 [m], sum one.
        exact: whether the direction's Krylov space was exhausted, so that nodes and weights are the measure itself.
        products: products taken.
    """

    curvature: float
    length: float
    nodes: Tensor
    weights: Tensor
    exact: bool
    products: int

    def mass_above(self, threshold: float) -> float:
        """Share of the squared length on eigenvalues above ``threshold``, estimated by the nodes above it."""
        return self.weights[self.nodes > threshold].sum().item()

    def mass_above_bounds(self, threshold: float) -> tuple[float, float]:
        """Sure bounds on that share: Chebyshev, Markov and Stieltjes (Szegő, Orthogonal Polynomials, section 3.41).

        Besides the nodes above the threshold, the two next to it are in doubt; none is where the measure is exact.
        """
        if self.exact:
            return self.mass_above(threshold), self.mass_above(threshold)
        first_above = int((self.nodes <= threshold).sum())
        return self.weights[first_above + 1 :].sum().item(), self.weights[max(first_above - 1, 0) :].sum().item()


def direction_mass(
    operator: CurvatureOperator,
    direction: Tensor,
    *,
    steps: int = 15,
    budget_gb: float = 10.0,
    storage: torch.dtype = torch.float32,
    storage_device: torch.device | str = "cpu",
) -> DirectionMass:
    """Lanczos started at ``direction``: one product gives its curvature, ten to twenty how it spreads.

    Args:
        operator: symmetric.
        direction: [n], any norm but zero, in the operator's dtype and on its device.
        steps: products at most; fewer are taken where they exhaust the Krylov space.
        budget_gb: memory for the basis, in 10⁹ bytes; it holds one vector more than the steps.
        storage: dtype of the stored vectors.
        storage_device: where they lie.

    Raises:
        ValueError: a direction of another shape, zero or not finite, no steps, or a budget too small.
    """
    if direction.shape != (operator.dimension,):
        raise ValueError(
            f"the direction has shape {[*direction.shape]}; the operator multiplies [{operator.dimension}]"
        )
    length = norm(direction)
    if not 0 < length < float("inf"):
        raise ValueError(f"the direction has norm {length}; give one that is finite and not zero")
    if steps < 1:
        raise ValueError(f"{steps} steps measure nothing; take one or more")
    vectors = min(steps + 1, operator.dimension)
    basis = Basis.within(budget_gb, vectors, vectors, operator.dimension, storage, storage_device)
    state = LanczosState(basis, torch.Generator().manual_seed(0))
    state.begin(direction)
    exhausted = False
    while state.multiplied < steps and not exhausted:
        state.expand(operator)
        exhausted = state.coupling == 0
    nodes, weights = state.quadrature()
    return DirectionMass(
        curvature=state.projection[0, 0].item(),
        length=length,
        nodes=nodes,
        weights=weights,
        exact=exhausted,
        products=state.products,
    )
