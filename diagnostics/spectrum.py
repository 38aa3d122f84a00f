"""The Hessian of the answer-token loss where the network is: largest eigenvalues in magnitude, density, trace."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.nn import Parameter

from diagnostics.bench import Bench
from diagnostics.cost import Meter
from diagnostics.curvature.eigenpairs import Eigenpairs
from diagnostics.curvature.hessian import HessianOperator
from diagnostics.curvature.lanczos import largest_eigenpairs
from diagnostics.curvature.loss_terms import answer_loss_terms
from diagnostics.curvature.operator import CurvatureOperator
from diagnostics.curvature.spectral_density import spectral_density
from diagnostics.curvature.trace import trace
from diagnostics.result import Arrays
from training.errors import InputError
from training.evaluation.noise import Interval
from training.model.batching import Example, micro_batches

GRAPH_SHARE = 4
"""A second derivative keeps about four times what a gradient does: its micro-batches have a quarter of the tokens."""
AMPLE = 4
"""Vectors for each eigenvalue with which Lanczos hardly suffers from restarts."""
GRID = 401
"""Points at which the density is drawn."""
BROADENING = 0.005
"""Width of the density's bells, as a share of the spectrum's range."""
LEAST_TRACE_PRODUCTS = 6


class Spectrum(BaseModel):
    """The eigenvalues largest in magnitude, in that order; the Hessian is indefinite, so either sign may lead.

    Attributes:
        values: Rayleigh quotients, in nats per answer token and squared unit of the parameters.
        error_bars: of ``values``.
        residuals: ‖Hv - θv‖ of each eigenvector, measured by one product each.
        converged: whether the residual is within the tolerance asked for.
        clusters: positions whose values are too close to tell their eigenvectors apart; only their span is known.
        products: taken for them.
        storage: dtype the vectors were kept in.
        trace: sum of all eigenvalues by Hutch++; None where the density was not asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    values: tuple[float, ...]
    error_bars: tuple[float, ...]
    residuals: tuple[float, ...]
    converged: tuple[bool, ...]
    clusters: tuple[tuple[int, ...], ...]
    products: int
    storage: str
    trace: Interval | None

    @property
    def mean_magnitude(self) -> float:
        """Mean of |λ| over ``values``: the scale of what is sharp here."""
        return sum(map(abs, self.values)) / len(self.values)


@dataclass(frozen=True, slots=True)
class MeteredOperator:
    """An operator whose products are counted."""

    operator: CurvatureOperator
    tokens: int
    meter: Meter

    @property
    def dimension(self) -> int:
        """Entries of a vector."""
        return self.operator.dimension

    @property
    def device(self) -> torch.device:
        """Where vectors live."""
        return self.operator.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of vectors."""
        return self.operator.dtype

    def product(self, vector: Tensor) -> Tensor:
        """The operator times ``vector`` [dimension]."""
        image = self.operator.product(vector)
        self.meter.multiplied(self.tokens)
        return image


def hessian_here(bench: Bench, parameters: Mapping[str, Parameter], examples: Sequence[Example]) -> MeteredOperator:
    """The Hessian of the loss on ``examples`` over ``parameters``, where the network is now.

    Raises:
        InputError: the loss is not finite or not deterministic.
    """
    batches = micro_batches(examples, max(1, bench.encoding.batch_tokens // GRAPH_SHARE))
    terms = answer_loss_terms(bench.network.model, batches, bench.objective)
    graph_bytes = int(bench.settings.alignment.graph_gb * 1e9)
    operator = HessianOperator(parameters, terms, graph_bytes=graph_bytes)
    return MeteredOperator(operator, sum(map(len, examples)), bench.meter)


@contextlib.contextmanager
def told_as_settings() -> Iterator[None]:
    """Say what an iterative method refuses as what it is here: settings that exclude each other.

    Raises:
        InputError: the block raised ValueError.
    """
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"alignment: {error}") from None


@contextlib.contextmanager
def memory_told() -> Iterator[None]:
    """Say which settings to lower where the memory does not hold what the block needs.

    Raises:
        InputError: the block ran out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch.OutOfMemoryError is the device's; the CPU's allocator has no error type of its own.
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise InputError(
            "alignment: the memory does not hold the second derivative; lower probe.batch_tokens, alignment.graph_gb "
            "or alignment.budget_gb, or choose fewer alignment.parameters"
        ) from None


def storage_for(operator: CurvatureOperator, vectors: int, budget_gb: float) -> torch.dtype:
    """The operator's own dtype where ``vectors`` of its size fit in ``budget_gb`` · 10⁹ bytes, else scaled float16."""
    needed = min(vectors, operator.dimension) * operator.dimension * operator.dtype.itemsize
    return operator.dtype if needed <= budget_gb * 1e9 else torch.float16


def measured_spectrum(
    bench: Bench, operator: CurvatureOperator, name: str, checkpoint: Path
) -> tuple[Spectrum, Eigenpairs, Arrays]:
    """Eigenpairs by Lanczos, and density and trace where the settings ask for them.

    Args:
        bench: for settings and generators.
        operator: the Hessian.
        name: what the operator is called in arrays and generators.
        checkpoint: where Lanczos goes on from when it was stopped.

    Raises:
        InputError: settings that exclude each other.
    """
    settings = bench.settings.alignment
    storage = storage_for(operator, AMPLE * settings.eigenvectors, settings.budget_gb)
    with told_as_settings():
        pairs = largest_eigenpairs(
            operator,
            settings.eigenvectors,
            by="magnitude",
            tolerance=settings.tolerance,
            budget_gb=settings.budget_gb,
            storage=storage,
            storage_device=operator.device,
            max_products=settings.max_products,
            seed=_seed(bench, "start vector", name),
            checkpoint=checkpoint,
        )
        whole, arrays = _whole_spectrum(bench, operator, name)
    spectrum = Spectrum(
        values=tuple(pairs.values.tolist()),
        error_bars=tuple(pairs.error_bars.tolist()),
        residuals=tuple(pairs.residuals.tolist()),
        converged=tuple(pairs.converged.tolist()),
        clusters=pairs.clusters,
        products=pairs.products,
        storage=str(storage).removeprefix("torch."),
        trace=whole,
    )
    return spectrum, pairs, arrays


def _whole_spectrum(bench: Bench, operator: CurvatureOperator, name: str) -> tuple[Interval | None, Arrays]:
    settings = bench.settings.alignment
    if settings.density_probes == 0:
        return None, {}
    steps = min(settings.density_steps, operator.dimension)
    quadrature = spectral_density(
        operator,
        probes=settings.density_probes,
        steps=steps,
        budget_gb=settings.budget_gb,
        storage=storage_for(operator, steps + 1, settings.budget_gb),
        storage_device=operator.device,
        seed=_seed(bench, "density", name),
    )
    low, high = quadrature.nodes.min().item(), quadrature.nodes.max().item()
    width = BROADENING * (high - low)
    grid = torch.linspace(low - 5 * width, high + 5 * width, GRID, dtype=torch.float64)
    density, error = quadrature.density(grid, width)
    estimate = trace(
        operator,
        products=max(LEAST_TRACE_PRODUCTS, settings.density_steps),
        budget_gb=settings.budget_gb,
        seed=_seed(bench, "trace", name),
    )
    arrays = {"nodes": quadrature.nodes, "weights": quadrature.weights, "grid": grid, "density": density}
    arrays["density_error"] = error
    named = {f"{name}_{key}": values.numpy() for key, values in arrays.items()}
    return Interval(estimate.value, *estimate.interval()), named


def _seed(bench: Bench, purpose: str, name: str) -> int:
    return int(bench.generator(f"alignment {purpose}", name).integers(2**31))
