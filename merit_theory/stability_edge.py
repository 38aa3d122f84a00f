"""The largest stable learning rate, of gradient descent and of SGD: a split never raises it for all branches.

Step 5 of the paper reads a larger usable step into the split. Both edges say the opposite: the joint run is stable
wherever all its branches are.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from merit_theory.hessian import Hessian
from merit_theory.lanczos import lanczos_extremes
from merit_theory.precision import as_float64, check_unit_sum

LANCZOS_STEPS = 96


def gradient_descent_edge(hessian: Hessian) -> Float[Array, "..."]:
    r"""Learning rate 2/λ_max beyond which gradient descent diverges; one for each Hessian of a stack.

    λ_max is convex in H. So for groups whose mean Hessians average to the joint one, max_k λ_max(H̄_k) ≥ λ_max(H̄): some
    branch has a smaller edge than the joint run, or all have the same (EDGE).

    >>> from merit_theory.hessian import DiagonalHessian
    >>> gradient_descent_edge(DiagonalHessian(jnp.array([4.0, 1.0]))).item()
    0.5
    """
    return 2 / hessian.extreme_eigenvalues().largest


def second_moment_growth(
    hessian: Hessian, task_weights: Float[Array, " n"], learning_rate: float | Float[Array, ""], batch: int = 1
) -> Float[Array, ""]:
    r"""Factor per step of the slowest second moment under SGD with replacement; mean-square stable if at most one.

    The spectral radius of the map of covariances, with Aᵢ = I - ηHᵢ:

    $$T(C) = \tfrac1b \mathbb E_i[A_i C A_i] + (1 - \tfrac1b) \bar A C \bar A$$

    T is completely positive and self-adjoint, so its spectral radius is its largest eigenvalue and belongs to a
    positive semi-definite matrix, which Lanczos from the identity reaches. At equal b, the joint map is the mean of the
    group maps less a completely positive one: joint growth ≤ the largest growth of a group.

    Args:
        hessian: a stack of one Hessian per task, made dense here.
        task_weights: float64 [N], of sum one and none negative.
        learning_rate: η.
        batch: b, tasks drawn for a step.

    >>> from merit_theory.hessian import DenseHessian
    >>> second_moment_growth(DenseHessian(jnp.array([[[1.0]], [[3.0]]])), jnp.array([0.5, 0.5]), 0.5).item()
    0.25
    """
    weights, curvatures = _weighted_stack(hessian, task_weights)
    return _growth(weights, curvatures, as_float64("the learning rate", learning_rate), batch)


@jax.jit
def _growth(
    weights: Float[Array, " n"], curvatures: Float[Array, "n d d"], learning_rate: Float[Array, ""], batch: int
) -> Float[Array, ""]:
    maps = jnp.eye(curvatures.shape[-1])[None, :, :] - learning_rate * curvatures
    mean_map = jnp.einsum("n,nij->ij", weights, maps)

    def product(flat: Float[Array, " dd"]) -> Float[Array, " dd"]:
        matrix = flat.reshape(mean_map.shape)
        return _batch_mean(weights, maps, mean_map, matrix, batch).reshape(-1)

    return _largest(product, jnp.eye(curvatures.shape[-1]))


def sgd_edge(hessian: Hessian, task_weights: Float[Array, " n"], batch: int = 1) -> Float[Array, ""]:
    r"""Largest learning rate at which SGD with replacement is stable in mean square.

    The map of covariances is T = 1 - ηB + η²Q with \(B(C) = \bar HC + C\bar H\) and

    $$Q(C) = \tfrac1b \mathbb E_i[H_i C H_i] + (1 - \tfrac1b) \bar HC\bar H$$

    Growth is a maximum of convex functions of η, one at η = 0, and returns to one at η = 1/λ_max(B⁻¹Q). It is at most
    the edge of gradient descent, 2/λ_max(H̄), which it reaches for a shared Hessian or as b → ∞.

    Args:
        hessian: a stack of one positive semi-definite Hessian per task, made dense here.
        task_weights: float64 [N], of sum one and none negative.
        batch: b, tasks drawn for a step.

    >>> from merit_theory.hessian import DenseHessian
    >>> sgd_edge(DenseHessian(jnp.array([[[1.0]], [[3.0]]])), jnp.array([0.5, 0.5])).item()
    0.8
    """
    weights, curvatures = _weighted_stack(hessian, task_weights)
    return _edge(weights, curvatures, batch)


@jax.jit
def _edge(weights: Float[Array, " n"], curvatures: Float[Array, "n d d"], batch: int) -> Float[Array, ""]:
    eigenvalues, basis = jnp.linalg.eigh(jnp.einsum("n,nij->ij", weights, curvatures))
    rotated = basis.T[None, :, :] @ curvatures @ basis[None, :, :]
    sums = eigenvalues[:, None] + eigenvalues[None, :]
    # Where B vanishes, all Hessians do, and Q with them: such directions do not bound the learning rate.
    flat = sums <= 1e-13 * sums.max()
    inverse_root = jnp.where(flat, 0.0, 1 / jnp.sqrt(jnp.where(flat, 1.0, sums)))

    def product(vector: Float[Array, " dd"]) -> Float[Array, " dd"]:
        matrix = inverse_root * vector.reshape(sums.shape)
        return (inverse_root * _batch_mean(weights, rotated, jnp.diag(eigenvalues), matrix, batch)).reshape(-1)

    return 1 / _largest(product, jnp.diag(jnp.sqrt(jnp.where(flat.diagonal(), 0.0, sums.diagonal()))))


def _weighted_stack(hessian: Hessian, task_weights: Float[Array, " n"]) -> tuple[Array, Array]:
    """Weights [N] and Hessians [N, d, d], refused unless there is one Hessian per weight."""
    weights = as_float64("task weights", task_weights)
    if hessian.stack_shape != weights.shape:
        raise ValueError(
            f"{weights.shape} task weights and a Hessian stack of {hessian.stack_shape}; expected [N] for both"
        )
    check_unit_sum("task weights", weights)
    return weights, hessian.dense()


def _batch_mean(
    weights: Float[Array, " n"],
    factors: Float[Array, "n d d"],
    mean_factor: Float[Array, "d d"],
    matrix: Float[Array, "d d"],
    batch: int,
) -> Float[Array, "d d"]:
    """Mean of F C F over batches F of b factors drawn independently by weight."""
    own = jnp.einsum("n,nij,njl->il", weights, factors, matrix[None, :, :] @ factors)
    return own / batch + (1 - 1 / batch) * mean_factor @ matrix @ mean_factor


def _largest(product: Callable[[Array], Array], start: Float[Array, "d d"]) -> Float[Array, ""]:
    """Largest eigenvalue of a self-adjoint map of symmetric matrices; exact for d(d+1)/2 ≤ 96."""
    dimension = len(start)
    steps = min(dimension * (dimension + 1) // 2, LANCZOS_STEPS)
    return lanczos_extremes(product, start.reshape(-1), steps).largest
