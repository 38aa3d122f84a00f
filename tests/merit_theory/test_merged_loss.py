"""Theorems A and C, section 8.2 and the drift-corrected merge: what holds, and what it needs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from merit_theory.hessian import DenseHessian, DiagonalHessian
from merit_theory.linear_quadratic import LinearQuadraticModel, branch_displacements, group_weights
from merit_theory.merged_loss import (
    drift_corrected,
    hessian_gradient_covariance,
    leading_drift,
    leading_drift_of_losses,
    loss_of_drift,
    merged_after_one_epoch,
    merged_minus_joint,
)
from merit_theory.merging import merging_gain
from merit_theory.partition import Partition, balanced_splits

HALVES = jnp.array([0.5, 0.5])
SPLIT = Partition(((0, 3, 5), (1, 2, 4)))


def model_of(seed: int, *, shared: bool) -> LinearQuadraticModel:
    rng = np.random.default_rng(seed)
    factor = rng.standard_normal((3, 3) if shared else (6, 3, 3))
    return LinearQuadraticModel(factor @ np.swapaxes(factor, -1, -2) / 3, rng.standard_normal((6, 3)))


def group_state(model: LinearQuadraticModel, start: jax.Array, groups: jax.Array) -> tuple[DenseHessian, jax.Array]:
    """Hessians and gradients of the groups at the start."""
    return DenseHessian(jnp.einsum("kn,nij->kij", groups, model.hessian.dense())), groups @ model.task_gradients(start)


@pytest.mark.parametrize("fraction_of_edge", [0.1, 0.99, 1.3])
def test_every_balanced_split_merges_to_joint_training_with_a_shared_hessian(fraction_of_edge: float) -> None:
    splits = jnp.stack([group_weights(split) for split in balanced_splits(6)])
    start = jnp.array([2.0, -1.0, 1.0])

    @jax.jit
    def gaps(model: LinearQuadraticModel) -> tuple[jax.Array, jax.Array, jax.Array]:
        rate = fraction_of_edge * 2 / model.hessian.extreme_eigenvalues().largest
        branches = jax.vmap(lambda groups: branch_displacements(model, start, groups, rate, 30))(splits)
        joint = branch_displacements(model, start, model.uniform[None, :], rate, 30)[0]
        gap = jax.vmap(lambda groups: merged_minus_joint(model, start, groups, HALVES, rate, 30))(splits)
        return branches.mean(axis=1) - joint[None, :], gap, jnp.abs(branches).max()

    for seed in range(20):
        by_hand, gap, scale = gaps(model_of(seed, shared=True))
        assert jnp.abs(by_hand).max() <= 1e-12 * scale
        assert jnp.abs(gap).max() <= 1e-12 * scale


@pytest.mark.parametrize(
    ("shared", "steps", "sizes"),
    [(False, (30, 30), (3, 3)), (True, (30, 15), (3, 3)), (True, (30, 30), (2, 4))],
    ids=["own Hessians", "unequal steps", "unequal groups"],
)
def test_it_does_not_without_any_one_of_its_hypotheses(
    shared: bool, steps: tuple[int, int], sizes: tuple[int, int]
) -> None:
    model, start, rate = model_of(0, shared=shared), jnp.array([2.0, -1.0, 1.0]), 0.1
    groups = group_weights(Partition((tuple(range(sizes[0])), tuple(range(sizes[0], 6)))))
    moved = [branch_displacements(model, start, groups[k : k + 1], rate, steps[k])[0] for k in (0, 1)]
    joint = branch_displacements(model, start, model.uniform[None, :], rate, 30)[0]
    assert jnp.linalg.norm((moved[0] + moved[1]) / 2 - joint) > 1e-2 * jnp.linalg.norm(joint)


def test_any_merge_equals_joint_training_on_the_mixture_it_weighs() -> None:
    model, groups = model_of(1, shared=True), group_weights(Partition(((0, 1), (2, 3, 4, 5))))
    weights = jnp.array([0.3, 0.7])
    gap = merged_minus_joint(model, jnp.ones(3), groups, weights, 0.2, 9)
    assert jnp.abs(gap).max() < 1e-13
    assert jnp.abs(weights @ groups - model.uniform).max() > 0.01


def test_from_the_optimum_the_gain_is_the_harm_that_branches_took() -> None:
    model = model_of(2, shared=True)
    optimum = model.optimum()
    moved = branch_displacements(model, optimum, group_weights(SPLIT), 0.2, 9)
    harm = jax.vmap(model.loss)(optimum[None, :] + moved).mean() - model.loss(optimum)
    assert merging_gain(model.hessian, moved, HALVES) == pytest.approx(harm.item(), rel=1e-11)
    assert model.loss(optimum + moved.mean(axis=0)) == pytest.approx(model.loss(optimum).item(), rel=1e-13)


@pytest.mark.parametrize("seed", range(5))
def test_the_leading_drift_is_exact_for_quadratics_after_two_steps(seed: int) -> None:
    model, start, groups = model_of(seed, shared=False), jnp.array([1.0, 2.0, -1.0]), group_weights(SPLIT)
    drift = merged_minus_joint(model, start, groups, HALVES, 0.7, 2)
    np.testing.assert_allclose(leading_drift(*group_state(model, start, groups), HALVES, 0.7, 2), drift, atol=1e-12)


@pytest.mark.parametrize("steps", [3, 20])
def test_the_leading_drift_has_an_error_of_first_order_beyond_two_steps(steps: int) -> None:
    model, start, groups = model_of(0, shared=False), jnp.array([1.0, 2.0, -1.0]), group_weights(SPLIT)
    errors = []
    for rate in (2e-3 / steps, 1e-3 / steps):
        drift = merged_minus_joint(model, start, groups, HALVES, rate, steps)
        error = jnp.linalg.norm(leading_drift(*group_state(model, start, groups), HALVES, rate, steps) - drift)
        errors.append((error / jnp.linalg.norm(drift)).item())
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.02)


def test_the_drift_vanishes_with_a_shared_hessian_or_equal_gradients_and_one_step() -> None:
    gradients = jnp.array([[1.0, 2.0], [3.0, -1.0]])
    shared = DiagonalHessian(np.array([[0.3, 0.7], [0.3, 0.7]]))
    own = DiagonalHessian(np.array([[0.3, 0.7], [0.9, 0.1]]))
    assert jnp.abs(hessian_gradient_covariance(shared, gradients, HALVES)).max() < 1e-15
    assert jnp.abs(hessian_gradient_covariance(own, gradients[:1].repeat(2, axis=0), HALVES)).max() == 0
    assert jnp.abs(leading_drift(own, gradients, HALVES, 0.1, 1)).max() == 0
    assert jnp.abs(leading_drift(own, gradients, HALVES, 0.1, 2)).max() > 0


def curved_losses(x: jax.Array) -> jax.Array:
    return jnp.stack([jnp.cos(x[0]) + x[1] ** 4, jnp.exp(0.3 * x[0] - x[1]), jnp.tanh(x[0] * x[1]) + x[0]])


def test_both_forms_of_the_drift_agree_for_smooth_losses_and_unequal_weights() -> None:
    point, weights = jnp.array([0.4, 0.8]), jnp.array([0.2, 0.5, 0.3])
    hessians = DenseHessian(jax.hessian(curved_losses)(point))
    drift = leading_drift(hessians, jax.jacrev(curved_losses)(point), weights, 0.3, 7)
    np.testing.assert_allclose(leading_drift_of_losses(curved_losses, point, weights, 0.3, 7), drift, rtol=1e-12)


def test_the_drift_of_smooth_losses_is_that_of_gradient_descent() -> None:
    point, weights, rate, steps = jnp.array([0.4, 0.8]), jnp.array([0.2, 0.5, 0.3]), 1e-4, 6

    def end(shares: jax.Array) -> jax.Array:
        descend = jax.grad(lambda x: shares @ curved_losses(x))
        return jax.lax.fori_loop(0, steps, lambda _, x: x - rate * descend(x), point)

    measured = weights @ jax.vmap(end)(jnp.eye(3)) - end(weights)
    predicted = leading_drift_of_losses(curved_losses, point, weights, rate, steps)
    assert jnp.linalg.norm(measured - predicted) < 5e-3 * jnp.linalg.norm(measured)


def test_the_minimal_instance_is_exact() -> None:
    # H = (2, 1, 1, 1), optima (1, 2, -2, -2), η = ½, from the optimum of the mixture: excess 5/512 and 245/8192.
    hessian = DiagonalHessian(np.array([[2.0], [1.0], [1.0], [1.0]]))
    model = LinearQuadraticModel(hessian, np.array([[1.0], [2.0], [-2.0], [-2.0]]))
    start = jnp.zeros(1)
    assert model.optimum()[0] == 0
    drifts, gains = {}, []
    for split in balanced_splits(4):
        groups = group_weights(split)
        moved = branch_displacements(model, start, groups, 0.5, 2)
        gains.append(merging_gain(model.mean_hessian(), moved, HALVES).item())
        for steps in (2, 3):
            drifts[split.groups[0], steps] = merged_minus_joint(model, start, groups, HALVES, 0.5, steps)
    assert [drifts[(0, 1), steps].item() for steps in (2, 3)] == pytest.approx([-1 / 8, -7 / 32], rel=1e-14)
    excess = [model.loss(drifts[(0, 1), steps]) - model.loss(start) for steps in (2, 3)]
    assert [value.item() for value in excess] == pytest.approx([5 / 512, 245 / 8192], rel=1e-12)
    assert gains == pytest.approx([605 / 512, 0, 0], abs=1e-14)
    others = [drifts[first, steps].item() for first in ((0, 2), (0, 3)) for steps in (2, 3)]
    assert others == pytest.approx([0] * 4, abs=1e-15)


def test_the_change_of_loss_by_the_drift_is_exact_from_where_joint_training_ends() -> None:
    model, start, groups = model_of(0, shared=False), jnp.array([1.0, 2.0, -1.0]), group_weights(SPLIT)
    joint = start + branch_displacements(model, start, model.uniform[None, :], 0.1, 12)[0]
    drift = merged_minus_joint(model, start, groups, HALVES, 0.1, 12)
    change = loss_of_drift(model.mean_hessian(), model.gradient(joint), drift)
    assert change == pytest.approx((model.loss(joint + drift) - model.loss(joint)).item(), rel=1e-10)


@jax.jit
def leading_and_measured_effect(model: LinearQuadraticModel, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Change of the mixture loss by the drift of the merge: to leading order, and as it is."""
    groups, rate, steps = group_weights(SPLIT), 1e-3, 5
    leading = leading_drift(*group_state(model, start, groups), HALVES, rate, steps)
    joint = start + branch_displacements(model, start, model.uniform[None, :], rate, steps)[0]
    drift = merged_minus_joint(model, start, groups, HALVES, rate, steps)
    predicted = loss_of_drift(model.mean_hessian(), model.gradient(start), leading)
    return predicted, loss_of_drift(model.mean_hessian(), model.gradient(joint), drift)


def test_the_leading_effect_on_the_loss_has_either_sign_but_not_from_a_minimum() -> None:
    models = [model_of(seed, shared=False) for seed in range(12)]
    anywhere = [leading_and_measured_effect(model, jnp.array([1.0, 2.0, -1.0])) for model in models]
    assert {jnp.sign(predicted).item() for predicted, _ in anywhere} == {-1, 1}
    at_minimum = [leading_and_measured_effect(model, model.optimum()) for model in models]
    assert min(predicted for predicted, _ in at_minimum) > 0
    for predicted, measured in anywhere + at_minimum:
        assert measured == pytest.approx(predicted.item(), rel=0.1)


@pytest.mark.parametrize(
    ("rate", "steps", "token_weighted", "uniform"), [(0.5, 1, -3 / 16, 1 / 16), (1.0, 1, 0.0, 1.0), (0.0, 1, 0.0, 0.0)]
)
def test_the_unbalanced_instance_is_exact(rate: float, steps: int, token_weighted: float, uniform: float) -> None:
    # One task at 3, three at -1: joint stays; with q = 1 - η the branches are at 3(1-q) and -(1-q³).
    model = LinearQuadraticModel(DiagonalHessian(np.ones(1)), np.array([[3.0], [-1.0], [-1.0], [-1.0]]))
    split = Partition(((0,), (1, 2, 3)))
    ends = [
        merged_after_one_epoch(model, jnp.zeros(1), split, jnp.array(weights), rate, steps).item()
        for weights in ([0.25, 0.75], [0.5, 0.5])
    ]
    q = (1 - rate) ** steps
    assert ends == pytest.approx([0.75 * (q**3 - q), 0.5 * (3 * (1 - q) - (1 - q**3))], abs=1e-15)
    if rate != 0.5:
        assert ends == [token_weighted, uniform]


def test_token_weights_count_a_large_group_twice_to_first_order_and_uniform_weights_once() -> None:
    model, start, rate = model_of(3, shared=False), jnp.array([1.0, 2.0, -1.0]), 1e-7
    split = Partition(((0,), (1, 2, 3, 4, 5)))
    sizes = jnp.array([1.0, 5.0])
    gradients = group_weights(split) @ model.task_gradients(start)
    token = merged_after_one_epoch(model, start, split, sizes / 6, rate, 2)
    np.testing.assert_allclose(token, -2 * rate * (sizes**2 / 6) @ gradients, rtol=1e-5)
    plain = merged_after_one_epoch(model, start, split, HALVES, rate, 2)
    np.testing.assert_allclose(plain, -2 * rate * 6 / 2 * model.gradient(start), rtol=1e-5)


def test_converged_branches_want_token_weights() -> None:
    model, start = model_of(3, shared=True), jnp.zeros(3)
    split, rate = Partition(((0,), (1, 2, 3, 4, 5))), 1 / model_of(3, shared=True).hessian.extreme_eigenvalues().largest
    ends = [
        merged_after_one_epoch(model, start, split, weights, rate, 10**6)
        for weights in (jnp.array([1.0, 5.0]) / 6, HALVES)
    ]
    np.testing.assert_allclose(ends[0], model.optimum(), atol=1e-9)
    assert jnp.linalg.norm(ends[1] - model.optimum()) > 0.1


def corrected_error(model: LinearQuadraticModel, rate: float, steps: int) -> tuple[float, float]:
    """Distance to joint training of the plain merge, and of the corrected one."""
    start, groups = jnp.array([1.0, 2.0, -1.0]), group_weights(SPLIT)
    moved = branch_displacements(model, start, groups, rate, steps)
    joint = start + branch_displacements(model, start, model.uniform[None, :], rate, steps)[0]
    merged = start + moved.mean(axis=0)
    gradients = jax.vmap(model.gradient)(start[None, :] + moved, groups)
    corrected = drift_corrected(merged, gradients, model.gradient(merged), HALVES, rate, steps)
    return jnp.linalg.norm(merged - joint).item(), jnp.linalg.norm(corrected - joint).item()


@pytest.mark.parametrize("steps", [2, 7])
def test_the_corrected_merge_is_nearer_to_joint_training_by_one_order(steps: int) -> None:
    for seed in range(3):
        model = model_of(seed, shared=False)
        (plain, corrected), (plain_half, corrected_half) = (
            corrected_error(model, rate, steps) for rate in (2e-3, 1e-3)
        )
        assert plain / plain_half == pytest.approx(4, rel=0.1)
        assert corrected / corrected_half == pytest.approx(8, rel=0.1)
        assert corrected < 0.1 * plain


def test_the_corrected_merge_leaves_joint_training_alone_with_a_shared_hessian() -> None:
    plain, corrected = corrected_error(model_of(0, shared=True), 0.1, 8)
    assert max(plain, corrected) < 1e-13
