"""The law of SGD against every order of draws, enumerated, and against random runs (theorem B, section 8.1)."""

from itertools import permutations, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from merit_theory.hessian import DiagonalHessian
from merit_theory.linear_quadratic import LinearQuadraticModel, branch_displacements, group_weights
from merit_theory.partition import Partition, balanced_splits
from merit_theory.sgd_law import (
    expected_merged_loss,
    one_pass_factor,
    sgd_moments,
    sgd_noise_loss,
    spread_reshuffled,
    spread_with_replacement,
)
from merit_theory.sgd_run import draws_reshuffled, draws_with_replacement, sgd_displacement

START, RATE = jnp.array([1.0, -0.5]), 0.7
PROGRESS = jnp.array([0.0, 1e-6, 0.3, 1.0, 1.7, 2.0, 2.3])


def model_of(*, shared: bool = True, n_tasks: int = 4, columns: int = 0) -> LinearQuadraticModel:
    rng = np.random.default_rng(1)
    factor = rng.standard_normal((2, 2) if shared else (n_tasks, 2, 2))
    hessian = factor @ np.swapaxes(factor, -1, -2)
    optima = rng.standard_normal((n_tasks, 2))
    return LinearQuadraticModel(hessian, optima, 0.8 * rng.standard_normal((2, columns)) if columns else None)


def all_runs(model: LinearQuadraticModel, draws: np.ndarray) -> jax.Array:
    """Displacements [runs, d] over every row of draws [runs, τ, b]."""
    run = jax.jit(jax.vmap(lambda tasks: sgd_displacement(model, START, tasks, RATE, jax.random.key(0))))
    return run(jnp.asarray(draws))


def noise_measured(model: LinearQuadraticModel, moved: jax.Array) -> jax.Array:
    return 0.5 * model.hessian.quadratic_form(moved - moved.mean(axis=0)[None, :]).mean()


def sequences(tasks: int, length: int, batch: int) -> np.ndarray:
    return np.array(list(product(range(tasks), repeat=length * batch))).reshape(-1, length, batch)


@pytest.mark.parametrize(("steps", "batch"), [(4, 1), (2, 2)])
@pytest.mark.parametrize("shared", [True, False])
def test_moments_with_replacement_are_those_over_all_sequences(shared: bool, steps: int, batch: int) -> None:
    model = model_of(shared=shared)
    moved = all_runs(model, sequences(4, steps, batch))
    moments = sgd_moments(model, START, model.uniform, RATE, steps, batch=batch)
    np.testing.assert_allclose(moments.mean, moved.mean(axis=0), rtol=1e-11)
    np.testing.assert_allclose(moments.covariance, np.cov(moved.T, bias=True), rtol=1e-11)
    # The mean is gradient descent's, with one Hessian per task too.
    descent = branch_displacements(model, START, model.uniform[None, :], RATE, steps)[0]
    np.testing.assert_allclose(moments.mean, descent, rtol=1e-11)


@pytest.mark.parametrize(("steps", "batch"), [(4, 1), (2, 2)])
def test_noise_loss_with_replacement_is_that_over_all_sequences(steps: int, batch: int) -> None:
    model = model_of()
    law = sgd_noise_loss(model, model.uniform, RATE, steps, batch=batch)
    assert law == pytest.approx(noise_measured(model, all_runs(model, sequences(4, steps, batch))).item(), rel=1e-11)


def test_noise_loss_counts_tasks_by_their_weights() -> None:
    model, weights = model_of(), jnp.array([0.5, 0.25, 0.25, 0.0])
    population = np.array([0, 0, 1, 2])[sequences(4, 3, 1)]
    law = sgd_noise_loss(model, weights, RATE, 3)
    assert law == pytest.approx(noise_measured(model, all_runs(model, population)).item(), rel=1e-11)


@pytest.mark.parametrize(("steps", "batch"), [(4, 1), (3, 1), (1, 1), (2, 2), (1, 2)])
def test_noise_loss_of_a_pass_is_that_over_all_orders(steps: int, batch: int) -> None:
    model = model_of()
    orders = np.array(list(permutations(range(4)))).reshape(24, -1, batch)[:, :steps]
    law = sgd_noise_loss(model, model.uniform, RATE, steps, batch=batch, population=4)
    assert law == pytest.approx(noise_measured(model, all_runs(model, orders)).item(), rel=1e-11)


@pytest.mark.parametrize("steps", [6, 7, 8, 9])
def test_noise_loss_of_several_reshuffled_passes_is_that_over_all_orders_of_each(steps: int) -> None:
    model = model_of(n_tasks=3)
    passes = list(permutations(range(3)))
    orders = np.array([sum(choice, ()) for choice in product(passes, repeat=3)])[:, :steps, None]
    law = sgd_noise_loss(model, model.uniform, RATE, steps, population=3)
    assert law == pytest.approx(noise_measured(model, all_runs(model, orders)).item(), rel=1e-10)


def test_noise_loss_of_a_pass_that_visits_tasks_twice_is_that_over_all_orders() -> None:
    model = model_of(n_tasks=2)
    orders = np.array(list(permutations([0, 1, 0, 1])))[:, :, None]
    law = sgd_noise_loss(model, model.uniform, RATE, 4, population=4)
    assert law == pytest.approx(noise_measured(model, all_runs(model, orders)).item(), rel=1e-11)


@pytest.mark.parametrize("reshuffled", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
def test_random_runs_with_fresh_examples_follow_the_law(reshuffled: bool, batch: int) -> None:
    model, steps, runs = model_of(columns=3), 4, 20_000

    def run(key: jax.Array) -> jax.Array:
        order, examples = jax.random.split(key)
        if reshuffled:
            draws = draws_reshuffled(order, jnp.arange(4), steps, batch)
        else:
            draws = draws_with_replacement(order, model.uniform, steps, batch)
        return model.loss(START + sgd_displacement(model, START, draws, RATE, examples))

    losses = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(3), runs))
    groups, alone = model.uniform[None, :], jnp.ones(1)
    population = 4 if reshuffled else None
    law = expected_merged_loss(model, START, groups, alone, RATE, steps, batch=batch, population=population)
    error = losses.std() / np.sqrt(runs)
    assert jnp.abs(losses.mean() - law) < 4 * error
    other = expected_merged_loss(
        model, START, groups, alone, RATE, steps, batch=batch, population=None if population else 4
    )
    assert jnp.abs(losses.mean() - other) > 4 * error


def test_moments_agree_with_the_closed_form_when_examples_scatter() -> None:
    model = model_of(columns=3)
    moments = sgd_moments(model, START, model.uniform, RATE, 9, batch=3)
    law = sgd_noise_loss(model, model.uniform, RATE, 9, batch=3)
    assert law == pytest.approx(0.5 * jnp.trace(model.hessian.dense() @ moments.covariance).item(), rel=1e-11)


def test_expected_loss_of_a_merge_is_that_of_independent_branches() -> None:
    model, groups, weights = model_of(), group_weights(Partition(((0, 3), (1, 2)))), jnp.array([0.3, 0.7])
    halves = [all_runs(model, np.array(group)[sequences(2, 4, 1)]) for group in ([0, 3], [1, 2])]
    merged = START[None, None, :] + weights[0] * halves[0][:, None, :] + weights[1] * halves[1][None, :, :]
    measured = jax.vmap(jax.vmap(model.loss))(merged).mean()
    law = expected_merged_loss(model, START, groups, weights, RATE, 4)
    assert law == pytest.approx(measured.item(), rel=1e-11)


def test_only_the_variance_within_groups_enters_the_merged_loss() -> None:
    # Theorem B: ½ Σ λ [(1-x)^2τ b² + x² (W/K) (1-(1-x)^2τ)/(1-(1-x)²)] over the loss at the optimum.
    rng = np.random.default_rng(2)
    eigenvalues, optima, steps = np.array([1.5, 0.4, 0.1]), rng.standard_normal((6, 3)), 11
    model, start = LinearQuadraticModel(DiagonalHessian(eigenvalues), optima), jnp.ones(3)
    x, b = RATE * eigenvalues, 1 - optima.mean(axis=0)
    for split in balanced_splits(6):
        within = np.mean([optima[list(group)].var(axis=0) for group in split.groups], axis=0)
        decay = (1 - x) ** (2 * steps)
        excess = 0.5 * eigenvalues @ (decay * b**2 + x**2 * within / 2 * (1 - decay) / (1 - (1 - x) ** 2))
        law = expected_merged_loss(model, start, group_weights(split), jnp.full(2, 0.5), RATE, steps)
        assert law - model.loss(model.optimum()) == pytest.approx(excess, rel=1e-11)


def test_the_small_rate_floor_is_the_variance_of_gradients_within_groups() -> None:
    # (η/4K) Σ_ℓ within-variance of the gradients, for long training at a small rate.
    rate, model = 1e-4, model_of()
    groups = group_weights(Partition(((0, 1), (2, 3))))
    gradients = model.task_gradients(model.optimum()).reshape(2, 2, 2)
    floor = rate / 8 * gradients.var(axis=1).mean(axis=0).sum()
    law = expected_merged_loss(model, model.optimum(), groups, jnp.full(2, 0.5), rate, 10**7)
    assert law - model.loss(model.optimum()) == pytest.approx(floor.item(), rel=1e-3)


@pytest.mark.parametrize(("population", "batch"), [(4, 1), (6, 2)])
def test_a_single_pass_spreads_less_than_replacement_up_to_the_turn_of_sign(population: int, batch: int) -> None:
    # Σc² - (Σc)²/m ≤ Σc², but a finite population multiplies by m/(n-1): with alternating signs a pass spreads more.
    steps = population // batch
    x = jnp.linspace(0.01, 0.99, 50)
    assert (spread_reshuffled(x, steps, population, batch) < spread_with_replacement(x, steps, batch)).all()
    far = jnp.array(1.9)
    assert spread_reshuffled(far, 4, 4) > spread_with_replacement(far, 4)


def test_the_spread_of_a_pass_does_not_cancel_for_tiny_progress() -> None:
    # x⁴ n²(n+1)/12 to leading order, where sums of ones would cancel to nothing.
    x, n = 1e-9, 10
    assert spread_reshuffled(jnp.array(x), n, n) == pytest.approx(x**4 * n**2 * (n + 1) / 12, rel=1e-7)


def test_a_long_pass_of_small_steps_has_the_tanh_factor() -> None:
    total, n = jnp.array([0.1, 1.0, 5.0, 30.0]), 4096
    exact = spread_reshuffled(total / n, n, n) / spread_with_replacement(total / n, n)
    np.testing.assert_allclose(exact, one_pass_factor(total), rtol=2e-3)
    # In a short pass the factor is only a guide.
    assert (jnp.abs(spread_reshuffled(total / 16, 16, 16) / spread_with_replacement(total / 16, 16)) > exact).all()


def test_the_tanh_factor_is_smooth_where_its_series_takes_over() -> None:
    around = jnp.array([0.02 - 1e-9, 0.02 + 1e-9])
    low, high = one_pass_factor(around)
    assert high - low == pytest.approx(0, abs=1e-9 * 0.02)
    assert jax.grad(one_pass_factor)(0.0) == 0


def test_joint_sgd_of_one_group_is_the_spread_formula() -> None:
    model = LinearQuadraticModel(DiagonalHessian(np.array([2.0])), np.array([[1.0], [-1.0]]))
    law = sgd_noise_loss(model, model.uniform, 0.3, 5, batch=2)
    assert law == pytest.approx(spread_with_replacement(jnp.array(0.6), 5, 2).item(), rel=1e-13)


def test_the_law_differentiates_and_maps() -> None:
    model = model_of()
    slope = jax.grad(lambda rate: sgd_noise_loss(model, model.uniform, rate, 4, population=4))(RATE)
    above, below = (sgd_noise_loss(model, model.uniform, RATE + side, 4, population=4) for side in (1e-6, -1e-6))
    assert slope == pytest.approx(((above - below) / 2e-6).item(), rel=1e-6)


def test_one_hessian_per_task_has_no_additive_noise() -> None:
    with pytest.raises(ValueError, match="sgd_moments"):
        sgd_noise_loss(model_of(shared=False), jnp.full(4, 0.25), RATE, 3)


@pytest.mark.parametrize(("population", "batch"), [(1, 1), (5, 2)])
def test_a_population_without_passes_is_refused(population: int, batch: int) -> None:
    with pytest.raises(ValueError, match="no passes"):
        spread_reshuffled(PROGRESS, 4, population, batch)


def test_a_reshuffled_pass_draws_every_member_once_in_a_new_order() -> None:
    draws = draws_reshuffled(jax.random.key(1), jnp.array([3, 3, 1, 0, 2, 2]), 7, batch=2)
    assert draws.shape == (7, 2)
    passes = draws[:6].reshape(2, 6)
    assert jnp.sort(passes, axis=1).tolist() == [[0, 1, 2, 2, 3, 3]] * 2
    assert passes[0].tolist() != passes[1].tolist()
    with pytest.raises(ValueError, match="cannot be cut into batches of 4"):
        draws_reshuffled(jax.random.key(1), jnp.arange(6), 7, batch=4)
