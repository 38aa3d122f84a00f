"""The model against automatic differentiation, the closed form of gradient descent against its steps (E3)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mpmath import mp

from merit_theory.hessian import DenseHessian, DiagonalHessian, LowRankHessian
from merit_theory.linear_quadratic import (
    LinearQuadraticModel,
    branch_displacements,
    effective_steps,
    gradient_descent,
    gradient_descent_closed_form,
    group_weights,
)
from merit_theory.partition import Partition

PROGRESS = [0.0, 1e-300, 1e-17, 1e-9, 1e-3, 0.5, 1 - 1e-9, 1.0, 1 + 1e-9, 1.5, 2 - 1e-9, 2.0, 2 + 1e-9, 2.2, -0.1]


def positive_semidefinite(rng: np.random.Generator, *shape: int) -> np.ndarray:
    factor = rng.standard_normal((*shape, shape[-1]))
    return factor @ np.swapaxes(factor, -1, -2) / shape[-1]


def model_of(n_tasks: int, dimension: int, *, shared: bool, seed: int = 0) -> LinearQuadraticModel:
    rng = np.random.default_rng(seed)
    hessian = positive_semidefinite(rng, *(() if shared else (n_tasks,)), dimension)
    return LinearQuadraticModel(hessian, rng.standard_normal((n_tasks, dimension)))


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 10, 60, 257])
def test_effective_steps_are_the_geometric_sum_to_rounding(steps: int) -> None:
    found = effective_steps(jnp.array(PROGRESS), steps)
    for x, value in zip(PROGRESS, found.tolist(), strict=True):
        with mp.workdps(700):
            exact = float((1 - (1 - mp.mpf(x)) ** steps) / mp.mpf(x)) if x else float(steps)
        assert value == pytest.approx(exact, rel=2e-14, abs=1e-14)


def test_effective_steps_lose_nothing_over_a_million_tiny_steps() -> None:
    # τ - ½τ(τ-1)x + …, where 1 - x alone would round x away.
    assert effective_steps(jnp.array(1e-18), 10**6).item() == pytest.approx(1e6 - 5e-7, rel=1e-15)
    assert effective_steps(jnp.array(1e-9), 10**6).item() == pytest.approx(
        -np.expm1(1e6 * np.log1p(-1e-9)) / 1e-9, rel=1e-13
    )


def test_effective_steps_have_their_derivative_at_zero_at_one_and_at_the_edge() -> None:
    slope = jax.vmap(jax.grad(lambda x: effective_steps(x, 5)))(jnp.array([0.0, 1.0, 2.0]))
    # d/dx Σ (1-x)^t = -Σ t (1-x)^(t-1).
    assert slope.tolist() == [-10.0, -1.0, -1 + 2 - 3 + 4]


def test_effective_steps_take_the_number_of_steps_as_data() -> None:
    table = jax.jit(jax.vmap(effective_steps, (None, 0)))(jnp.array(0.5), jnp.arange(4))
    assert table.tolist() == [0.0, 1.0, 1.5, 1.75]


@pytest.mark.parametrize("steps", [2, 3, 20])
def test_shortfall_of_effective_steps_is_between_zero_and_its_bound_up_to_the_edge(steps: int) -> None:
    x = jnp.linspace(1e-6, 2, 999)
    shortfall, bound = steps - effective_steps(x, steps), 0.5 * steps * (steps - 1) * x
    assert (shortfall >= 0).all()
    assert (shortfall <= bound * (1 + 1e-9)).all()
    # At τ = 2 the bound is reached; below zero curvature the sign turns, so x ≥ 0 is needed.
    assert ((shortfall / bound).max() > 1 - 1e-6) == (steps == 2) or steps > 2
    assert steps - effective_steps(jnp.array(-0.1), steps) < 0


def test_shortfall_leaves_its_bound_beyond_the_edge_for_odd_steps() -> None:
    # x = 5: φ_5 = 1 - 4 + 16 - 64 + 256, far above τ.
    assert 5 - effective_steps(jnp.array(5.0), 5) < 0


@pytest.mark.parametrize("kind", ["dense", "diagonal", "low-rank", "low-rank-constant"])
@pytest.mark.parametrize("steps", [1, 2, 13])
def test_the_closed_form_is_gradient_descent(kind: str, steps: int) -> None:
    rng = np.random.default_rng(steps)
    hessians = {
        "dense": DenseHessian(positive_semidefinite(rng, 5)),
        "diagonal": DiagonalHessian(np.array([0.0, 0.3, 1.0, 4.0, -1.0])),
        "low-rank": LowRankHessian(rng.uniform(size=5), rng.standard_normal((5, 2)), np.array([1.0, -0.2])),
        "low-rank-constant": LowRankHessian(np.array([0.2]), rng.standard_normal((5, 2)), np.array([1.0, 0.3])),
    }
    hessian, gradients = hessians[kind], jnp.asarray(rng.standard_normal((4, 5)))
    matrix = np.asarray(hessian.dense())
    edge = 2 / np.linalg.eigvalsh(matrix)[-1]
    for rate in (0.01 * edge, 0.9 * edge, 1.1 * edge):
        moved = np.zeros((4, 5))
        for _ in range(steps):
            moved -= rate * (gradients + moved @ matrix)
        tolerance = 1e-12 * np.abs(moved).max()
        np.testing.assert_allclose(gradient_descent(hessian, gradients, rate, steps), moved, atol=tolerance)
        np.testing.assert_allclose(gradient_descent_closed_form(hessian, gradients, rate, steps), moved, atol=tolerance)


def test_both_forms_differentiate_alike_with_respect_to_the_learning_rate() -> None:
    hessian, gradient = DiagonalHessian(np.array([0.0, 0.5, 2.0])), jnp.array([1.0, 2.0, 3.0])
    forms = (gradient_descent, gradient_descent_closed_form)
    loop, closed = (jax.jacrev(lambda rate, form=form: form(hessian, gradient, rate, 7))(0.3) for form in forms)
    np.testing.assert_allclose(loop, closed, rtol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_gradients_and_hessian_are_derivatives_of_the_losses(shared: bool) -> None:
    model = model_of(4, 3, shared=shared)
    point, weights = jnp.array([0.3, -1.0, 2.0]), jnp.array([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(jax.jacrev(model.task_losses)(point), model.task_gradients(point), atol=1e-13)
    curvature = jax.hessian(lambda x: model.loss(x, weights))(point)
    np.testing.assert_allclose(curvature, model.mean_hessian(weights).dense(), atol=1e-13)
    np.testing.assert_allclose(jax.grad(model.loss)(point), model.gradient(point), atol=1e-13)
    assert model.loss(point) == pytest.approx(model.task_losses(point).mean().item(), rel=1e-14)


@pytest.mark.parametrize("shared", [True, False])
def test_the_mixture_gradient_vanishes_at_the_optimum_also_in_flat_valleys(shared: bool) -> None:
    flat = np.diag([1.0, 2.0, 0.0])
    hessian = flat if shared else np.stack([flat, 3 * flat, flat])
    model = LinearQuadraticModel(hessian, np.random.default_rng(5).standard_normal((3, 3)))
    weights = jnp.array([0.2, 0.3, 0.5])
    optimum = model.optimum(weights)
    np.testing.assert_allclose(model.gradient(optimum, weights), 0, atol=1e-14)
    # The direction in which the loss is flat stays at the mean of the optima.
    assert optimum[2] == pytest.approx((weights @ model.optima)[2].item(), rel=1e-14)


@pytest.mark.parametrize("shared", [True, False])
def test_branches_descend_on_the_mean_loss_of_their_group(shared: bool) -> None:
    model, start = model_of(4, 3, shared=shared), jnp.array([1.0, 0.0, -1.0])
    groups = group_weights(Partition(((0, 3, 1), (2,))))
    moved = branch_displacements(model, start, groups, 0.1, 6)
    for row, branch in zip(groups, moved, strict=True):
        point = start
        for _ in range(6):
            point = point - 0.1 * jax.grad(model.loss)(point, row)
        np.testing.assert_allclose(branch, point - start, atol=1e-13)


def test_all_partitions_can_be_trained_at_once() -> None:
    model, start = model_of(4, 3, shared=False), jnp.zeros(3)
    stack = jnp.stack([group_weights(Partition(((0, other), (*{1, 2, 3} - {other},)))) for other in (1, 2, 3)])
    together = jax.jit(jax.vmap(lambda groups: branch_displacements(model, start, groups, 0.1, 6)))(stack)
    alone = [branch_displacements(model, start, groups, 0.1, 6) for groups in stack]
    np.testing.assert_allclose(together, jnp.stack(alone), atol=1e-14)


def test_hundred_thousand_parameters_train_in_closed_form() -> None:
    rng = np.random.default_rng(0)
    hessian = LowRankHessian(np.array([0.1]), rng.standard_normal((100_000, 2)) / 300, np.array([1.0, 2.0]))
    model = LinearQuadraticModel(hessian, rng.standard_normal((4, 100_000)))
    start, weights = jnp.zeros(100_000), model.uniform[None, :]
    closed = branch_displacements(model, start, weights, 0.3, 40)
    np.testing.assert_allclose(closed[0], gradient_descent(hessian, model.gradient(start), 0.3, 40), atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((np.eye(2), np.ones((3, 4))), r"optima have shape \(3, 4\); expected \[N, 2\]"),
        ((np.stack([np.eye(2)] * 2), np.ones((3, 2))), "3 tasks have 2 Hessians"),
        ((np.eye(2), np.array([[1.0, np.nan]])), r"optima has a non-finite|optima .*\(0, 1\)"),
        ((np.eye(2), np.ones((3, 2)), np.ones((3, 1))), r"scatter has shape \(3, 1\); expected \[2, q\]"),
    ],
)
def test_what_is_no_model_is_refused(arguments: tuple, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        LinearQuadraticModel(*arguments)


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [(np.full((1, 4), 0.3), "sum to 1.2"), (np.ones((2, 3)) / 3, r"shape \(2, 3\); expected \[K, 4\]")],
)
def test_what_weighs_no_groups_is_refused(weights: np.ndarray, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        branch_displacements(model_of(4, 3, shared=True), jnp.zeros(3), weights, 0.1, 1)
