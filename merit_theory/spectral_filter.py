r"""Gradient descent as a filter on the spectrum: what τ steps learn of each eigendirection, and the gain that follows.

On a quadratic, τ steps of size η from θ⁰ close the share 1-(1-ηλ)^τ of the way to the optimum along an eigenvector of
eigenvalue λ; equally, they move by η·φ_τ(ηλ) times the first gradient. For τηλ ≪ 1 the first-order model holds,
φ_τ = τ, and the gain weighs an axis by λ³. As training converges the weight falls to λ (F.8), below the λ² with which
gradient PCA weighs it, and PCA can pick an axis whose gain is no longer the largest (F.6, F.9).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from merit_theory.precision import as_float64, check_finite, is_concrete


def filter_factor(rate: ArrayLike, steps: ArrayLike) -> Float[Array, "..."]:
    """1-(1-x)^τ, the share of the way to the optimum closed in τ steps, accurate for small x too.

    Args:
        rate: float [...], x = ηλ of any sign; training is stable for 0 ≤ x ≤ 2.
        steps: whole numbers τ ≥ 0, of a shape that broadcasts with ``rate``.

    >>> filter_factor(0.5, 3).item(), filter_factor(2.0, 3).item()
    (0.875, 2.0)
    """
    x, tau = _rate_and_steps(rate, steps)
    small = x < 0.5
    inside = jnp.where(small, x, 0.0)
    return jnp.where(small, -jnp.expm1(tau * jnp.log1p(-inside)), 1 - jnp.power(1 - x, tau))


def accumulated_steps(rate: ArrayLike, steps: ArrayLike) -> Float[Array, "..."]:
    """φ_τ = Σ_{t<τ}(1-x)^t: how many first gradients the displacement after τ steps amounts to (E3).

    δ = -η φ_τ(ηH) g exactly; 0 ≤ τ - φ_τ ≤ τ(τ-1)x/2 for 0 ≤ x ≤ 2, so the first-order model needs (τ-1)x ≪ 1.

    Args:
        rate: float [...], x = ηλ.
        steps: whole numbers τ ≥ 0, of a shape that broadcasts with ``rate``.

    >>> accumulated_steps([0.0, 0.5], 3).tolist()
    [3.0, 1.75]
    """
    x, tau = _rate_and_steps(rate, steps)
    zero = x == 0
    return jnp.where(zero, tau, filter_factor(x, tau) / jnp.where(zero, 1.0, x))


def gain_weight(curvature: ArrayLike, learning_rate: ArrayLike, steps: ArrayLike) -> Float[Array, "..."]:
    """λ(1-(1-ηλ)^τ)²: weight of an eigendirection in twice the gain, per unit variance of the groups' mean optima.

    At τ = 1 this is η²λ³ (F.8).

    Args:
        curvature: float [...], eigenvalues λ.
        learning_rate: η.
        steps: τ.
    """
    eigenvalue = as_float64("curvature", curvature)
    return eigenvalue * filter_factor(as_float64("learning rate", learning_rate) * eigenvalue, steps) ** 2


def gain_weight_exponent(rate: ArrayLike, steps: ArrayLike) -> Float[Array, "..."]:
    """Power of λ that the gain weight follows locally: 3 at one step, 1 at convergence.

    d ln(gain weight)/d ln λ = 1 + 2xτ(1-x)^(τ-1)/(1-(1-x)^τ). It passes 2, the exponent of gradient PCA, at τx ≈ 1.256
    for small x, where 2τx = exp(τx) - 1.

    Args:
        rate: float [...], x = ηλ with 0 < x < 2.
        steps: whole numbers τ ≥ 1.

    >>> gain_weight_exponent([0.5, 0.5], [1, 50]).round(6).tolist()
    [3.0, 1.0]
    """
    x, tau = _rate_and_steps(rate, steps)
    if is_concrete(x) and is_concrete(tau) and not bool(((x > 0) & (x < 2)).all() & (tau >= 1).all()):
        raise ValueError("the exponent is that of stable training: expected 0 < ηλ < 2 and at least one step")
    return 1 + 2 * tau * jnp.power(1 - x, tau - 1) / accumulated_steps(x, tau)


def filtered_task_matrix(
    curvatures: ArrayLike, optima: ArrayLike, learning_rate: ArrayLike, steps: ArrayLike
) -> Float[Array, "n n"]:
    """Task matrix that is exact for τ steps under one Hessian: use it with step 1 wherever M is asked for.

    Its entries are Σ_ℓ λ_ℓ(1-(1-ηλ_ℓ)^τ)² a_iℓ a_jℓ; for one step that is η²M.

    Args:
        curvatures: float [d], eigenvalues of the Hessian.
        optima: float [n, d], task optima relative to the start, in the basis of the eigenvectors.
        learning_rate: η.
        steps: τ.

    >>> filtered_task_matrix([2.0], [[3.0], [-3.0]], 0.5, 1).tolist()
    [[18.0, -18.0], [-18.0, 18.0]]
    """
    eigenvalues, places = as_float64("curvatures", curvatures), as_float64("optima", optima)
    if places.ndim != 2 or eigenvalues.shape != (places.shape[1],):
        raise ValueError(f"optima have shape {places.shape}, curvatures {eigenvalues.shape}; expected [n, d] and [d]")
    check_finite("optima", places)
    return (places * gain_weight(eigenvalues, learning_rate, steps)[None, :]) @ places.T


class SubspaceLoss(NamedTuple):
    """Loss above the minimum in three parts, each a scalar; their sum is ½‖δ‖²_H."""

    within: Float[Array, ""]
    outside: Float[Array, ""]
    cross: Float[Array, ""]


def subspace_loss(hessian: ArrayLike, displacement: ArrayLike, basis: ArrayLike) -> SubspaceLoss:
    r"""Loss of a displacement inside a subspace S, outside it, and between the two (F.3).

    $$\tfrac12\lVert\delta\rVert_H^2 = \tfrac12\lVert P_S\delta\rVert_H^2 + \tfrac12\lVert P_\perp\delta\rVert_H^2
        + \langle P_S\delta, P_\perp\delta\rangle_H$$

    The last part vanishes for every displacement exactly if HS ⊆ S. A subspace found from gradients need not have that.

    Args:
        hessian: float [d, d], symmetric.
        displacement: float [d], from the minimum.
        basis: float [d, k], orthonormal columns that span S.
    """
    square, shift, axes = (
        as_float64(name, value)
        for name, value in (("the Hessian", hessian), ("displacement", displacement), ("basis", basis))
    )
    if shift.ndim != 1 or square.shape != (len(shift),) * 2 or axes.ndim != 2 or len(axes) != len(shift):
        raise ValueError(
            f"the Hessian has shape {square.shape}, the displacement {shift.shape}, the basis {axes.shape}; "
            "expected [d, d], [d] and [d, k]"
        )
    if is_concrete(axes) and not bool(jnp.allclose(axes.T @ axes, jnp.eye(axes.shape[1]), atol=1e-9)):
        raise ValueError("the columns of the basis are not orthonormal; take them through a QR decomposition")
    inside = axes @ (axes.T @ shift)
    outside = shift - inside
    return SubspaceLoss(0.5 * inside @ square @ inside, 0.5 * outside @ square @ outside, inside @ square @ outside)


def flat_loss_bound(curvatures: ArrayLike, n_sharp: int, displacement: ArrayLike) -> Float[Array, ""]:
    """½λ_{k+1}‖δ‖², what can be left when δ has no part in the k sharpest eigendirections (F.3).

    Args:
        curvatures: float [d], eigenvalues of the Hessian in any order.
        n_sharp: k, below d.
        displacement: float [d].
    """
    return 0.5 * _descending(curvatures, n_sharp)[n_sharp] * (as_float64("displacement", displacement) ** 2).sum()


def effective_condition_number(curvatures: ArrayLike, n_sharp: int) -> Float[Array, ""]:
    """κ_eff = λ_{k+1}/λ_d, the condition number without the k sharpest eigendirections (step 5 of the argument).

    It gives the rate of descent only of a model that has no component along the sharp directions and never gets one.
    Branches do have one, so the largest stable step is still 2/λ₁: `spectral_radius` at the step that κ_eff suggests,
    2/(λ_{k+1} + λ_d), is above one as soon as λ₁ > λ_{k+1} + λ_d.

    Args:
        curvatures: positive float [d], eigenvalues of the Hessian in any order.
        n_sharp: k, below d.

    >>> effective_condition_number([10.0, 4.0, 2.0], 1).item()
    2.0
    """
    eigenvalues = _descending(curvatures, n_sharp)
    if is_concrete(eigenvalues) and not eigenvalues[-1].item() > 0:
        raise ValueError(
            f"the smallest eigenvalue is {eigenvalues[-1].item():.9g}; a condition number needs all positive"
        )
    return eigenvalues[n_sharp] / eigenvalues[-1]


def spectral_radius(curvatures: ArrayLike, learning_rate: ArrayLike) -> Float[Array, ""]:
    """max_ℓ|1-ηλ_ℓ|: what a step of gradient descent can leave of an error; at most one exactly if 0 ≤ ηλ ≤ 2.

    >>> spectral_radius([10.0, 4.0, 2.0], 1 / 3).item() > 2.3
    True
    """
    rates = as_float64("learning rate", learning_rate) * as_float64("curvatures", curvatures)
    return jnp.abs(1 - rates).max()


def _rate_and_steps(rate: ArrayLike, steps: ArrayLike) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    x, tau = jnp.broadcast_arrays(as_float64("rate", rate), as_float64("steps", steps))
    if is_concrete(tau) and not bool(((tau >= 0) & (tau == jnp.floor(tau))).all()):
        raise ValueError("steps must be whole numbers, zero or more")
    return x, tau


def _descending(curvatures: ArrayLike, n_sharp: int) -> Float[Array, " d"]:
    eigenvalues = as_float64("curvatures", curvatures)
    if eigenvalues.ndim != 1 or not 0 <= n_sharp < len(eigenvalues):
        raise ValueError(
            f"{n_sharp} sharp directions of eigenvalues {eigenvalues.shape}; expected [d] and 0 ≤ sharp < d"
        )
    return jnp.sort(eigenvalues)[::-1]
