"""The largest eigenvalues of an operator: thick-restart Lanczos within a budget of memory."""

import time
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from diagnostics.curvature.basis import Basis
from diagnostics.curvature.eigenpairs import Eigenpairs, clusters_of, error_bars_of
from diagnostics.curvature.lanczos_checkpoint import load_checkpoint, save_checkpoint
from diagnostics.curvature.lanczos_state import LanczosState
from diagnostics.curvature.operator import CurvatureOperator
from diagnostics.curvature.reductions import dot, norm

By = Literal["algebraic", "magnitude"]

USEFUL_VECTORS = 64
# Estimated residuals miss rounding; stopping at half the tolerance lets the true ones keep it.
ESTIMATE_MARGIN = 0.5
ROUNDING_EPSILONS = 16


def largest_eigenpairs(
    operator: CurvatureOperator,
    count: int,
    *,
    by: By = "algebraic",
    tolerance: float = 1e-2,
    budget_gb: float = 5.0,
    storage: torch.dtype = torch.float32,
    storage_device: torch.device | str = "cpu",
    max_products: int = 500,
    seed: int = 0,
    search_copies: bool = False,
    checkpoint: Path | None = None,
    checkpoint_every: int = 10,
) -> Eigenpairs:
    r"""Eigenvalues of a symmetric operator, algebraically largest or largest in magnitude, with their true residuals.

    Thick-restart Lanczos with full reorthogonalisation (Wu and Simon, SIAM J. Matrix Anal. Appl. 22, 2000): when the
    budget is full, the better half of the Ritz vectors is kept and the process goes on from them. A value counts as
    converged at $\|Hv-\theta v\| \le \text{tolerance}\cdot|\theta|$, or where rounding allows no less. One start
    vector meets one copy of a multiple eigenvalue: ``search_copies`` starts again from a random vector orthogonal to
    what was found, until as many products again, or a full budget, find nothing new.

    Args:
        operator: symmetric; its dtype and device are those of the products.
        count: how many eigenvalues.
        by: order; a Hessian is indefinite, so the two differ.
        tolerance: relative residual.
        budget_gb: memory for the basis, in 10⁹ bytes. No more than max(64, 4 · count) vectors are stored.
        storage: float16 (scaled) halves the memory and floors the residual at about 3e-4 of the largest magnitude.
        storage_device: where the basis lies.
        max_products: stop after these, converged or not; ``count`` more measure the residuals.
        seed: of the start vector.
        search_copies: look for further copies of the eigenvalues found.
        checkpoint: file to continue from if it exists.
        checkpoint_every: products between two savings of all stored vectors.

    Returns:
        The eigenpairs in the order asked for, converged or not.

    Raises:
        ValueError: a count outside 1 … dimension, an unknown order, a tolerance that is not positive, a budget too
            small, too few products, a product that is not finite, or a checkpoint of other settings.
    """
    began = time.perf_counter()
    dimension = operator.dimension
    if not 1 <= count <= dimension:
        raise ValueError(f"{count} eigenvalues asked of an operator of dimension {dimension}; ask for 1 to {dimension}")
    if by not in ("algebraic", "magnitude"):
        raise ValueError(f"order {by!r} is unknown; take 'algebraic' or 'magnitude'")
    if not tolerance > 0:
        raise ValueError(f"tolerance {tolerance} is not positive; 1e-2 is usual")
    if max_products < min(count + 1, dimension):
        raise ValueError(f"{max_products} products cannot give {count} eigenvalues; allow {count + 1} or more")
    least, most = min(count + 3, dimension), min(max(USEFUL_VECTORS, 4 * count), dimension)
    basis = Basis.within(budget_gb, least, most, dimension, storage, storage_device)
    state = LanczosState(basis, torch.Generator().manual_seed(seed))
    settings = {
        "dimension": str(dimension),
        "capacity": str(len(basis.rows)),
        "storage": str(storage),
        "dtype": str(operator.dtype),
        "count": str(count),
        "order": by,
        "seed": str(seed),
    }
    like = torch.empty(dimension, dtype=operator.dtype, device=operator.device)
    if checkpoint is not None and checkpoint.exists():
        load_checkpoint(checkpoint, state, settings)
    else:
        state.begin_at_random(like)

    epsilon = torch.finfo(operator.dtype).eps
    values, coordinates = _ritz_in_order(state, by)
    while not state.spans_everything and state.products < max_products:
        full = state.multiplied == len(basis.rows) - 1 < dimension - 1
        searching = len(state.found) > 0
        looked = full or state.products >= 2 * state.found_after
        if (looked or not searching) and _estimates_within(state, values, coordinates, count, tolerance, epsilon):
            unchanged = searching and torch.allclose(values[:count], state.found, rtol=tolerance, atol=0)
            if unchanged or not search_copies:
                break
            state.found, state.found_after = values[:count].clone(), state.products
            state.restart(values[:count], coordinates[:, :count])
            state.replace_next(like)
        elif full:
            keep = count + (state.multiplied - count) // 2
            state.restart(values[:keep], coordinates[:, :keep])
        state.expand(operator)
        values, coordinates = _ritz_in_order(state, by)
        if checkpoint is not None and state.products % checkpoint_every == 0:
            save_checkpoint(checkpoint, state, settings)
    return _measured(operator, state, values, coordinates, count, tolerance, began)


def _ritz_in_order(state: LanczosState, by: By) -> tuple[Tensor, Tensor]:
    values, coordinates = state.ritz()
    order = torch.argsort(values if by == "algebraic" else values.abs(), descending=True, stable=True)
    return values[order], coordinates[:, order]


def _estimates_within(
    state: LanczosState, values: Tensor, coordinates: Tensor, count: int, tolerance: float, epsilon: float
) -> bool:
    if state.multiplied < count:
        return False
    estimates = state.coupling * coordinates[-1, :count].abs()
    return bool((estimates <= ESTIMATE_MARGIN * _allowed(values, values[:count], tolerance, epsilon)).all())


def _allowed(spectrum: Tensor, values: Tensor, tolerance: float, epsilon: float) -> Tensor:
    """Residuals that count as converged: relative to each value, but no less than rounding at the largest leaves."""
    return torch.clamp(tolerance * values.abs(), min=ROUNDING_EPSILONS * epsilon * spectrum.abs().max().item())


def _measured(
    operator: CurvatureOperator,
    state: LanczosState,
    ritz_values: Tensor,
    coordinates: Tensor,
    count: int,
    tolerance: float,
    began: float,
) -> Eigenpairs:
    """Form the wanted vectors and take one product of each: Rayleigh quotients and true residuals."""
    state.basis.rotate(coordinates[:, :count])
    state.basis.count = count
    like = torch.empty(0, dtype=operator.dtype, device=operator.device)
    values, residuals = torch.empty(count, dtype=torch.float64), torch.empty(count, dtype=torch.float64)
    for index in range(count):
        vector = state.basis.vector(index, like)
        image = operator.product(vector)
        length = norm(vector)
        values[index] = dot(vector, image) / length**2
        residuals[index] = norm(image - values[index].item() * vector) / length
    clusters = clusters_of(values, residuals)
    return Eigenpairs(
        values=values,
        vectors=state.basis,
        residuals=residuals,
        error_bars=error_bars_of(values, residuals, ritz_values[count:], clusters),
        converged=residuals <= _allowed(ritz_values, values, tolerance, torch.finfo(operator.dtype).eps),
        clusters=clusters,
        products=state.products + count,
        seconds=time.perf_counter() - began,
    )
