"""The trace of an operator with its standard error: Hutch++."""

import math
from dataclasses import dataclass

import torch
from scipy.stats import t as student
from torch import Tensor

from diagnostics.curvature.basis import Basis
from diagnostics.curvature.operator import CurvatureOperator
from diagnostics.curvature.reductions import dot, norm

DEPENDENT_EPSILONS = 100


@dataclass(frozen=True, slots=True)
class TraceEstimate:
    """An unbiased estimate of a trace.

    Attributes:
        value: in the operator's unit.
        standard_error: of ``value``, from the spread of the probes.
        probes: how many random vectors the error rests on.
        products: products taken.
    """

    value: float
    standard_error: float
    probes: int
    products: int

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Student's interval around the value, with probes - 1 degrees of freedom."""
        reach = float(student.ppf((1 + confidence) / 2, self.probes - 1)) * self.standard_error
        return self.value - reach, self.value + reach


def trace(operator: CurvatureOperator, *, products: int = 60, budget_gb: float = 20.0, seed: int = 0) -> TraceEstimate:
    r"""Trace by Hutch++ (Meyer, Musco, Musco and Woodruff, SOSA 2021, algorithm 1): exact on a range, sampled off it.

    $$\mathrm{tr}(Q^\top H Q) + \tfrac1p \sum_i g_i^\top (I-QQ^\top) H (I-QQ^\top) g_i$$

    with Q an orthonormal basis of H times Gaussian vectors. A third of the products makes Q, a third multiplies it, the
    rest goes to the p probes of random signs. Q is stored in the operator's dtype: where it is rounded, the estimate is
    biased.

    Args:
        operator: symmetric, of any signature.
        products: how many may be taken, six or more.
        budget_gb: memory for Q, in 10⁹ bytes.
        seed: of the random vectors.

    Raises:
        ValueError: fewer than six products, or a budget too small.
    """
    if products < 6:
        raise ValueError(f"{products} products give no error bar; take six or more")
    dimension = operator.dimension
    sketch = min(products // 3, dimension)
    generator = torch.Generator().manual_seed(seed)
    basis = Basis.within(budget_gb, sketch, sketch, dimension, operator.dtype, operator.device)
    for _ in range(sketch):
        start = torch.randn(dimension, generator=generator, dtype=operator.dtype).to(operator.device)
        _append_orthogonal(basis, operator.product(start))
    within = 0.0
    like = torch.empty(0, dtype=operator.dtype, device=operator.device)
    for index in range(basis.count):
        vector = basis.vector(index, like)
        within += dot(vector, operator.product(vector))
    probes = products - 2 * sketch
    samples = torch.empty(probes, dtype=torch.float64)
    for index in range(probes):
        probe = _signs(operator, generator)
        basis.subtract(basis.dots(probe), probe)
        samples[index] = dot(probe, operator.product(probe))
    return TraceEstimate(
        value=within + samples.mean().item(),
        standard_error=samples.std().item() / math.sqrt(probes),
        probes=probes,
        products=sketch + basis.count + probes,
    )


def _signs(operator: CurvatureOperator, generator: torch.Generator) -> Tensor:
    bits = torch.randint(0, 2, (operator.dimension,), generator=generator, dtype=torch.int8)
    return (2 * bits - 1).to(device=operator.device, dtype=operator.dtype)


def _append_orthogonal(basis: Basis, vector: Tensor) -> None:
    """Append what of ``vector`` lies outside the basis; nothing, where that is rounding."""
    rounding = DEPENDENT_EPSILONS * torch.finfo(vector.dtype).eps * norm(vector)
    basis.subtract(basis.dots(vector), vector)
    length = norm(vector)
    if length > rounding:
        # A second pass on the normalised vector removes what the first left by rounding.
        vector /= length
        basis.subtract(basis.dots(vector), vector)
        basis.append(vector / norm(vector))
