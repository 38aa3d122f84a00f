"""What the split does to the merged model: nothing, drift, or less noise (theorems A, C, B).

A: with a shared Hessian, gradient descent and equal steps, every balanced split merges to joint training. B is
`expected_merged_loss` in sgd_law.py. C: otherwise the merge drifts from joint training by the covariance between groups
of Hessian and gradient.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from merit_theory.hessian import Hessian
from merit_theory.linear_quadratic import LinearQuadraticModel, branch_displacements, group_weights
from merit_theory.merging import merged_displacement
from merit_theory.partition import Partition
from merit_theory.precision import as_float64, check_unit_sum


def merged_minus_joint(
    model: LinearQuadraticModel,
    start: Float[Array, " d"],
    weights_of_groups: Float[Array, "k n"],
    merge_weights: Float[Array, " k"],
    learning_rate: float | Float[Array, ""],
    steps: int,
) -> Float[Array, " d"]:
    r"""The merge of gradient-descent branches less joint training on their mixture for as many steps (theorem A).

    The mixture weighs task i by Σ_k w_k W_ki, which is 1/N for the uniform merge of equal groups. Zero for every
    partition, start, rate and number of steps if the Hessian is shared; in general the drift of theorem C.

    Args:
        model: the tasks.
        start: float64 [d].
        weights_of_groups: float64 [K, N], rows of sum one.
        merge_weights: float64 [K], of sum one.
        learning_rate: η.
        steps: τ.

    Returns:
        θ̄ - θ_joint, float64 [d].

    >>> model = LinearQuadraticModel(jnp.array([[[1.0]], [[2.0]]]), jnp.array([[-1.0], [0.5]]))
    >>> merged_minus_joint(model, jnp.zeros(1), jnp.eye(2), jnp.full(2, 0.5), 0.5, 2).tolist()
    [-0.125]
    """
    groups = as_float64("group weights", weights_of_groups)
    branches = branch_displacements(model, start, groups, learning_rate, steps)
    mixture = as_float64("merge weights", merge_weights) @ groups
    joint = branch_displacements(model, start, mixture[None, :], learning_rate, steps)[0]
    return merged_displacement(branches, merge_weights) - joint


def hessian_gradient_covariance(
    hessians: Hessian, gradients: Float[Array, "k d"], weights: Float[Array, " k"]
) -> Float[Array, " d"]:
    r"""Covariance between groups of Hessian and gradient, \(\sum_k w_k H_k g_k - \bar H \bar g\).

    Args:
        hessians: a stack of one Hessian per group.
        gradients: float64 [K, d], of the groups.
        weights: float64 [K], of sum one.

    >>> from merit_theory.hessian import DiagonalHessian
    >>> H, g = DiagonalHessian(jnp.array([[1.0], [2.0]])), jnp.array([[1.0], [-1.0]])
    >>> hessian_gradient_covariance(H, g, jnp.full(2, 0.5)).tolist()
    [-0.5]
    """
    slopes, shares = as_float64("gradients", gradients), as_float64("merge weights", weights)
    check_unit_sum("merge weights", shares)
    # H_k (g_k - ḡ) instead of the difference of means: a shared Hessian gives zero to rounding of the deviations.
    return shares @ hessians.product(slopes - (shares @ slopes)[None, :])


def leading_drift(
    hessians: Hessian,
    gradients: Float[Array, "k d"],
    weights: Float[Array, " k"],
    learning_rate: float | Float[Array, ""],
    steps: int,
) -> Float[Array, " d"]:
    r"""Drift of the merge from joint training to second order (theorem C).

    $$\bar\theta - \theta_{joint} \approx \tfrac12 \eta^2 \tau(\tau-1) \operatorname{Cov}_k(H_k, g_k)$$

    For any smooth losses and equal steps of gradient descent. Exact for quadratics at τ = 2; otherwise the
    error is O((ητ)³), so it needs ητλ ≪ 1.

    Args:
        hessians: a stack of one Hessian per group, at the start.
        gradients: float64 [K, d], of the groups at the start.
        weights: float64 [K], of sum one.
        learning_rate: η.
        steps: τ.

    >>> from merit_theory.hessian import DiagonalHessian
    >>> H, g = DiagonalHessian(jnp.array([[1.0], [2.0]])), jnp.array([[1.0], [-1.0]])
    >>> leading_drift(H, g, jnp.full(2, 0.5), 0.5, 2).tolist()
    [-0.125]
    """
    rate = as_float64("the learning rate", learning_rate)
    return 0.5 * rate**2 * steps * (steps - 1) * hessian_gradient_covariance(hessians, gradients, weights)


def leading_drift_of_losses(
    group_losses: Callable[[Float[Array, " d"]], Float[Array, " k"]],
    start: Float[Array, " d"],
    weights: Float[Array, " k"],
    learning_rate: float | Float[Array, ""],
    steps: int,
) -> Float[Array, " d"]:
    r"""The same drift as the gradient of how much group gradients differ, for losses given as a function.

    $$\tfrac14 \eta^2 \tau(\tau-1)\, \nabla_\theta \Bigl[\sum_k w_k \lVert g_k \rVert^2 - \lVert \bar g \rVert^2\Bigr]$$

    So merging climbs the variance between the groups' gradients.

    Args:
        group_losses: losses [K] of the groups at parameters [d].
        start: float64 [d].
        weights: float64 [K], of sum one.
        learning_rate: η.
        steps: τ.

    >>> def losses(x):
    ...     return jnp.stack([x[0] + x[0] ** 2 / 2, -x[0] + x[0] ** 2])
    >>> leading_drift_of_losses(losses, jnp.zeros(1), jnp.full(2, 0.5), 0.5, 2).tolist()
    [-0.125]
    """
    shares = as_float64("merge weights", weights)
    rate = as_float64("the learning rate", learning_rate)

    def variance(parameters: Float[Array, " d"]) -> Float[Array, ""]:
        gradients = jax.jacrev(group_losses)(parameters)
        return shares @ ((gradients - (shares @ gradients)[None, :]) ** 2).sum(axis=1)

    return 0.25 * rate**2 * steps * (steps - 1) * jax.grad(variance)(as_float64("the start", start))


def loss_of_drift(
    mean_hessian: Hessian, mean_gradient: Float[Array, " d"], drift: Float[Array, " d"]
) -> Float[Array, ""]:
    r"""Change of the mixture loss by a drift, \(\bar g^\top \Delta + \tfrac12 \lVert\Delta\rVert_{\bar H}^2\).

    With the gradient where joint training ends it is exact for quadratics; with that at the start and the leading drift
    it is the leading effect of theorem C. Its sign is open, except from a minimum, where the first part is zero.

    Args:
        mean_hessian: H̄ of the mixture.
        mean_gradient: float64 [d], ḡ of the mixture.
        drift: float64 [d], Δ.

    >>> from merit_theory.hessian import DiagonalHessian
    >>> loss_of_drift(DiagonalHessian(jnp.array([1.25])), jnp.zeros(1), jnp.array([-0.125])).item() * 512
    5.0
    """
    return mean_gradient @ drift + 0.5 * mean_hessian.quadratic_form(drift)


def merged_after_one_epoch(
    model: LinearQuadraticModel,
    start: Float[Array, " d"],
    partition: Partition,
    merge_weights: Float[Array, " k"],
    learning_rate: float | Float[Array, ""],
    steps_per_task: int,
) -> Float[Array, " d"]:
    r"""Merged displacement where a branch takes steps in proportion to its tasks, as in one epoch (section 8.2).

    To first order \(\bar\delta = -\eta b \sum_k w_k n_k \bar g_k\) with b steps per task. Weights n_k/N count a large
    group twice, by its steps and by its weight; uniform weights give the direction of joint training. Branches that
    have converged are merged without bias by n_k/N, in a shared Hessian, and not by uniform weights.

    Args:
        model: tasks of equal size.
        start: float64 [d].
        partition: of the tasks, with groups of any sizes n_k.
        merge_weights: float64 [K], of sum one.
        learning_rate: η.
        steps_per_task: b; branch k takes b n_k steps of gradient descent.

    >>> model = LinearQuadraticModel(jnp.eye(1), jnp.array([[3.0], [-1.0], [-1.0], [-1.0]]))
    >>> split = Partition(((0,), (1, 2, 3)))
    >>> merged_after_one_epoch(model, jnp.zeros(1), split, jnp.array([0.25, 0.75]), 1e-3, 1).round(5).tolist()
    [-0.0015]
    >>> merged_after_one_epoch(model, jnp.zeros(1), split, jnp.array([0.5, 0.5]), 1e-3, 1).round(5).tolist()
    [0.0]
    """
    moved = [
        branch_displacements(model, start, row[None, :], learning_rate, steps_per_task * len(group))[0]
        for row, group in zip(group_weights(partition), partition.groups, strict=True)
    ]
    return merged_displacement(jnp.stack(moved), merge_weights)


def drift_corrected(
    merged: Float[Array, " d"],
    branch_gradients: Float[Array, "k d"],
    gradient_at_merge: Float[Array, " d"],
    merge_weights: Float[Array, " k"],
    learning_rate: float | Float[Array, ""],
    steps: int,
) -> Float[Array, " d"]:
    r"""The merged model with its leading drift from joint training removed, by one more round of gradients.

    $$\bar\theta + \tfrac12 \eta (\tau - 1) \Bigl[ \sum_k w_k g_k(\theta_k) - \bar g(\bar\theta) \Bigr]$$

    The bracket is \(\operatorname{Cov}_k(H_k, \delta_k) \approx -\eta\tau \operatorname{Cov}_k(H_k, g_k)\), so the
    error falls from O((ητ)²) to O((ητ)³).

    Args:
        merged: float64 [d], θ̄.
        branch_gradients: float64 [K, d], the gradient of every group's loss at its own branch.
        gradient_at_merge: float64 [d], of the mixture loss at θ̄.
        merge_weights: float64 [K], of sum one.
        learning_rate: η.
        steps: τ.

    >>> branches = jnp.array([[0.25], [0.0]])  # one step more after θ_k = -3/4, 1/2 with H = 1, 2 and g = 1, -1
    >>> drift_corrected(jnp.array([-0.125]), branches, jnp.array([-0.1875]), jnp.full(2, 0.5), 0.5, 2).tolist()
    [-0.046875]
    """
    rate = as_float64("the learning rate", learning_rate)
    return merged + 0.5 * rate * (steps - 1) * (merge_weights @ branch_gradients - gradient_at_merge)
