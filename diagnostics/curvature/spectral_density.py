"""The density of an operator's eigenvalues, by stochastic Lanczos quadrature, with error bars over probes."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diagnostics.curvature.basis import Basis
from diagnostics.curvature.lanczos_state import LanczosState
from diagnostics.curvature.operator import CurvatureOperator


@dataclass(frozen=True, slots=True)
class SpectralDensity:
    r"""One Gauss quadrature of the spectrum per random probe; their average estimates $\tfrac1n \mathrm{tr} f(H)$.

    Each method returns a mean over probes and its standard error, both float64. The error is the probes' alone: what
    the broadening hides and what the finite number of nodes misses comes on top.

    Attributes:
        nodes: float64 [probes, steps], ascending within a probe, in the operator's unit.
        weights: float64 [probes, steps], sum one for each probe.
        products: products taken.
    """

    nodes: Tensor
    weights: Tensor
    products: int

    def moment(self, power: int) -> tuple[Tensor, Tensor]:
        """Mean of λ^power over all eigenvalues, for power below twice the steps without error of the quadrature."""
        return _mean_and_error((self.weights * self.nodes**power).sum(1))

    def density(self, grid: Tensor, width: float) -> tuple[Tensor, Tensor]:
        """Share of eigenvalues per unit, at ``grid`` (float64 [g]), each value spread as a Gaussian of width ``width``.

        Raises:
            ValueError: the width is not positive.
        """
        if not width > 0:
            raise ValueError(
                f"a broadening of width {width} is none; give a positive one, in the unit of the eigenvalues"
            )
        distances = (grid.double()[None, :, None] - self.nodes[:, None, :]) / width
        bells = torch.exp(-(distances**2) / 2) / (width * math.sqrt(2 * math.pi))
        return _mean_and_error((bells * self.weights[:, None, :]).sum(2))


def spectral_density(
    operator: CurvatureOperator,
    *,
    probes: int = 8,
    steps: int = 30,
    budget_gb: float = 20.0,
    storage: torch.dtype = torch.float32,
    storage_device: torch.device | str = "cpu",
    seed: int = 0,
) -> SpectralDensity:
    """Stochastic Lanczos quadrature (Ubaru, Chen and Saad, SIAM J. Matrix Anal. Appl. 38, 2017), Gaussian probes.

    Args:
        operator: symmetric.
        probes: random start vectors, two or more.
        steps: products for each, at most the dimension.
        budget_gb: memory for the basis, in 10⁹ bytes; it holds one vector more than the steps.
        storage: dtype of the stored vectors.
        storage_device: where they lie.
        seed: of the probes.

    Raises:
        ValueError: fewer than two probes, steps outside 1 … dimension, or a budget too small.
    """
    if probes < 2:
        raise ValueError(f"{probes} probes give no error bar; take two or more")
    if not 1 <= steps <= operator.dimension:
        raise ValueError(
            f"{steps} steps on an operator of dimension {operator.dimension}; take 1 to {operator.dimension}"
        )
    vectors = min(steps + 1, operator.dimension)
    basis = Basis.within(budget_gb, vectors, vectors, operator.dimension, storage, storage_device)
    generator = torch.Generator().manual_seed(seed)
    like = torch.empty(operator.dimension, dtype=operator.dtype, device=operator.device)
    quadratures = []
    for _ in range(probes):
        basis.count = 0
        state = LanczosState(basis, generator)
        state.begin_at_random(like)
        for _ in range(steps):
            state.expand(operator)
        quadratures.append(state.quadrature())
    nodes, weights = (torch.stack(parts) for parts in zip(*quadratures, strict=True))
    return SpectralDensity(nodes=nodes, weights=weights, products=probes * steps)


def _mean_and_error(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the first axis and its standard error."""
    return samples.mean(0), samples.std(0) / math.sqrt(len(samples))
