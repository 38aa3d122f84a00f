"""Eigenvalues with what is known of their error: true residuals, error bars, clusters."""

from dataclasses import dataclass

import torch
from torch import Tensor

from diagnostics.curvature.basis import Basis


@dataclass(frozen=True, slots=True)
class Eigenpairs:
    r"""The k wanted eigenvalues of an operator H, in the order asked for.

    Within ``residuals[i]`` of ``values[i]`` lies an eigenvalue, whatever else is wrong. ``error_bars`` are sharper
    where the gap γ to the other Ritz values exceeds the residual r: $r^2/\gamma$ (Parlett, The Symmetric Eigenvalue
    Problem, section 11.7). They are too short where an eigenvalue lies nearer that Lanczos has not told apart.

    Attributes:
        values: float64 [k], Rayleigh quotients of the vectors, in nats per answer token for the loss's Hessian.
        vectors: k vectors, in the storage they were computed in.
        residuals: float64 [k], ‖Hv − θv‖/‖v‖ by one product each.
        error_bars: float64 [k], in the unit of ``values``.
        converged: bool [k], whether the residual is within the tolerance asked for.
        clusters: positions whose values lie closer than their residuals: only their span is determined, not each
            vector. The error bars within are the subspace's.
        products: products taken, those for the residuals included.
        seconds: wall-clock time of this call.
    """

    values: Tensor
    vectors: Basis
    residuals: Tensor
    error_bars: Tensor
    converged: Tensor
    clusters: tuple[tuple[int, ...], ...]
    products: int
    seconds: float


def clusters_of(values: Tensor, residuals: Tensor) -> tuple[tuple[int, ...], ...]:
    """Group positions whose neighbouring values are no farther apart than the larger of their residuals.

    >>> clusters_of(torch.tensor([9.0, 1.01, 1.0]), torch.tensor([0.1, 0.0, 0.02]))
    ((0,), (1, 2))

    Args:
        values: float64 [k], in any order.
        residuals: float64 [k].

    Returns:
        Each position once; ascending within a group, groups by their first position.
    """
    groups: list[list[int]] = []
    for position in torch.argsort(values).tolist():
        if groups:
            below = groups[-1][-1]
            if values[position] - values[below] <= max(residuals[position], residuals[below]):
                groups[-1].append(position)
                continue
        groups.append([position])
    return tuple(sorted(tuple(sorted(group)) for group in groups))


def error_bars_of(values: Tensor, residuals: Tensor, others: Tensor, clusters: tuple[tuple[int, ...], ...]) -> Tensor:
    r"""Error bars $\min(R, R^2/\gamma)$ with R the residual norm of a value's whole cluster.

    Args:
        values: float64 [k], the wanted values.
        residuals: float64 [k].
        others: float64 [j], the Ritz values that were not wanted.
        clusters: of ``values``, see :func:`clusters_of`.

    Returns:
        float64 [k]; γ is the distance from the value to the nearest one outside its cluster.
    """
    bars = torch.empty_like(residuals)
    for group in clusters:
        members = list(group)
        outside = [position for position in range(len(values)) if position not in group]
        rest = torch.cat([values[outside], others])
        residual = torch.linalg.vector_norm(residuals[members])
        for position in members:
            bars[position] = residual
            if len(rest):
                gap = (rest - values[position]).abs().min()
                bars[position] = torch.minimum(residual, residual**2 / gap)
    return bars
