"""Lanczos with full reorthogonalisation over any symmetric operator."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class ExtremeEigenvalues(NamedTuple):
    """Smallest and largest eigenvalue; an eigenvalue lies within ``error`` of each."""

    smallest: Float[Array, "..."]
    largest: Float[Array, "..."]
    error: Float[Array, "..."]


def lanczos_extremes(
    product: Callable[[Float[Array, " d"]], Float[Array, " d"]], start: Float[Array, " d"], steps: int
) -> ExtremeEigenvalues:
    r"""Extreme eigenvalues of a symmetric operator on the Krylov space of a start vector.

    Exact once ``steps`` reaches the number of distinct eigenvalues with a component in the start. The error is the
    residual norm \(|\beta_m s_m|\) of the two Ritz pairs, the larger of both.

    Args:
        product: the operator on float64 [d].
        start: float64 [d], with a component along the eigenvectors that are sought; keeps ``steps`` · d numbers.
        steps: at least 1; more than d are not taken.
    """
    steps = min(steps, start.shape[0])

    def step(carry: tuple[Array, Array, Array], index: Array) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
        basis, current, scale = carry
        basis = basis.at[index].set(current)
        image = product(current)
        alpha = current @ image
        scale = jnp.maximum(scale, jnp.linalg.norm(image))
        # Twice is enough: the second pass removes what rounding left in the first.
        for _ in range(2):
            image = image - (basis @ image) @ basis
        beta = jnp.linalg.norm(image)
        ended = beta <= 1e-13 * scale
        beta = jnp.where(ended, 0.0, beta)
        following = jnp.where(ended, 0.0, image / jnp.where(ended, 1.0, beta))
        return (basis, following, scale), (alpha, beta)

    first = start / jnp.linalg.norm(start)
    carry = (jnp.zeros((steps, start.shape[0]), start.dtype), first, jnp.zeros((), start.dtype))
    _, (alphas, betas) = jax.lax.scan(step, carry, jnp.arange(steps))
    # After the Krylov space is exhausted the rows are empty; a copy of the first Rayleigh quotient, which lies between
    # the extremes, keeps their zeros out of the spectrum.
    empty = jnp.concatenate([jnp.zeros(1, bool), jnp.cumsum(betas[:-1] == 0) > 0])
    alphas = jnp.where(empty, alphas[0], alphas)
    tridiagonal = jnp.diag(alphas) + jnp.diag(betas[:-1], 1) + jnp.diag(betas[:-1], -1)
    values, vectors = jnp.linalg.eigh(tridiagonal)
    residuals = betas[-1] * jnp.abs(vectors[-1, jnp.array([0, -1])])
    return ExtremeEigenvalues(values[0], values[-1], residuals.max())
