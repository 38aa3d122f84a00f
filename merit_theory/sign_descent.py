r"""Noisy sign descent: with updates like Adam's a split acts at first order, through groups whose signs cancel.

Every step moves each coordinate by -η sign(μ + σξ) with ξ standard normal, so on average by -η erf(μ/(σ√2)). Averaging
models then differs from averaging gradients: where two groups disagree their updates cancel, and the merged model stays
behind the joint one. How much hangs on the noise. Without noise a disagreement cancels in full; where σ ≫ |μ| the error
function is linear, averaging updates is averaging gradients, and the split leaves no trace at first order.

All of this is about steps that see the mean gradient of their whole group. Where each step sees one task, drawn at
random, the mean updates of branches and of the joint run are means over tasks, and merged equals joint at any noise.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from merit_theory.precision import as_float64, check_finite, check_unit_sum, is_concrete


def expected_sign(mean: ArrayLike, noise: ArrayLike) -> Float[Array, "..."]:
    """E sign(μ + σξ) = erf(μ/(σ√2)); the sign of μ itself at σ = 0.

    Args:
        mean: float [...], gradient μ per coordinate.
        noise: standard deviation σ ≥ 0, of a shape that broadcasts with ``mean``.

    >>> expected_sign([-3.0, 0.0, 2.0], 0.0).tolist()
    [-1.0, 0.0, 1.0]
    >>> round(expected_sign(1.0, 1.0).item(), 4)
    0.6827
    """
    mu, sigma = jnp.broadcast_arrays(as_float64("mean", mean), as_float64("noise", noise))
    check_finite("mean", mu)
    if is_concrete(sigma) and not bool((sigma >= 0).all()):
        raise ValueError("noise must be a standard deviation, zero or more")
    silent = sigma == 0
    return jnp.where(silent, jnp.sign(mu), jax.lax.erf(mu / (jnp.where(silent, 1.0, sigma) * jnp.sqrt(2.0))))


def merged_update(gradients: ArrayLike, weights: ArrayLike, noise: ArrayLike) -> Float[Array, " d"]:
    """Mean of the merged branches' signs, Σ_k w_k erf(μ_k/(σ√2)): -1/η times what merging moves per step.

    Args:
        gradients: float [k, d], mean gradient of every group.
        weights: float [k], merge weights with sum one.
        noise: σ ≥ 0, scalar or [d], the same in all branches.

    >>> merged_update([[3.0, 1.0], [-1.0, 1.0]], [0.5, 0.5], 0.0).tolist()
    [0.0, 1.0]
    """
    means, shares = _groups(gradients, weights)
    return shares @ expected_sign(means, jnp.broadcast_to(as_float64("noise", noise), means.shape))


def joint_update(gradients: ArrayLike, weights: ArrayLike, noise: ArrayLike) -> Float[Array, " d"]:
    """Mean sign of one run on all groups, whose gradient is Σ_k w_k μ_k: -1/η times what it moves per step.

    Args:
        gradients: float [k, d], mean gradient of every group.
        weights: float [k], shares of the groups with sum one.
        noise: σ ≥ 0, scalar or [d].

    >>> joint_update([[3.0, 1.0], [-1.0, 1.0]], [0.5, 0.5], 0.0).tolist()
    [1.0, 1.0]
    """
    means, shares = _groups(gradients, weights)
    return expected_sign(shares @ means, noise)


def length_ratio(gradients: ArrayLike, weights: ArrayLike, noise: ArrayLike) -> Float[Array, ""]:
    """‖merged update‖/‖joint update‖.

    At most one without noise, if weights are not negative and no coordinate of the mean gradient is zero; and at any
    noise for two groups of equal weight. Beyond that it can exceed one: many groups that lean one way outvote one that
    pulls far the other way, where the mean gradient barely leans at all.

    Args:
        gradients: float [k, d], mean gradient of every group.
        weights: float [k], merge weights with sum one.
        noise: σ ≥ 0, scalar or [d].

    >>> length_ratio([[1.0], [1.0], [-0.5]], [0.25, 0.25, 0.5], 0.0).item()
    0.0
    """
    merged, joint = merged_update(gradients, weights, noise), joint_update(gradients, weights, noise)
    return jnp.linalg.norm(merged) / jnp.linalg.norm(joint)


def disagreement(gradients: ArrayLike) -> Float[Array, ""]:
    """Share of coordinates in which the groups' mean gradients do not all have the same sign.

    Args:
        gradients: float [k, d], mean gradient of every group.

    >>> disagreement([[3.0, 1.0], [-1.0, 1.0]]).item()
    0.5
    """
    signs = jnp.sign(as_float64("gradients", gradients))
    return (signs != signs[:1]).any(axis=0).mean(dtype=signs.dtype)


def simulate_sign_descent(
    key: Key[Array, ""], gradient: ArrayLike, noise: ArrayLike, learning_rate: ArrayLike, steps: int
) -> Float[Array, "..."]:
    """Displacement after noisy sign descent with a gradient that does not change on the way.

    Args:
        key: a JAX random key.
        gradient: float [...], mean gradient μ per coordinate.
        noise: σ ≥ 0, of a shape that broadcasts with ``gradient``.
        learning_rate: η.
        steps: number of steps τ.

    Returns:
        float64 [...], with mean -ητ·erf(μ/(σ√2)) and standard deviation η√(τ(1-erf²)).

    >>> simulate_sign_descent(jax.random.key(0), [3.0, -1.0], 0.0, 0.25, 4).tolist()
    [-1.0, 1.0]
    """
    mu, sigma = jnp.broadcast_arrays(as_float64("gradient", gradient), as_float64("noise", noise))
    rate = as_float64("learning rate", learning_rate)
    if steps < 0:
        raise ValueError(f"{steps} steps asked for; expected zero or more")

    def step(index: Array, displacement: Array) -> Array:
        noisy = mu + sigma * jax.random.normal(jax.random.fold_in(key, index), mu.shape, dtype=mu.dtype)
        return displacement - rate * jnp.sign(noisy)

    return jax.lax.fori_loop(0, steps, step, jnp.zeros_like(mu))


def _groups(gradients: ArrayLike, weights: ArrayLike) -> tuple[Float[Array, "k d"], Float[Array, " k"]]:
    means, shares = as_float64("gradients", gradients), as_float64("weights", weights)
    if means.ndim != 2 or shares.shape != means.shape[:1]:
        raise ValueError(f"gradients have shape {means.shape}, weights {shares.shape}; expected [k, d] and [k]")
    check_unit_sum("weights", shares)
    return means, shares
