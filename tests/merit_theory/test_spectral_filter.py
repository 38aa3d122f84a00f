"""Filter factors against unrolled descent, the weight of the gain from λ³ to λ, and the loss left on a subspace."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from merit_theory.gain_from_gram import gain_from_gram
from merit_theory.partition import random_partition
from merit_theory.spectral_filter import (
    accumulated_steps,
    effective_condition_number,
    filter_factor,
    filtered_task_matrix,
    flat_loss_bound,
    gain_weight,
    gain_weight_exponent,
    spectral_radius,
    subspace_loss,
)
from merit_theory.split_gain import partition_gain, split_gain

Floats = NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)
S1, S2 = np.array([[1.0, 1, -1, -1], [1, -1, 1, -1]])

# Compiled once per shape: hundreds of examples of a few operations each spend their time in dispatch otherwise.
filtered = jax.jit(filtered_task_matrix)
parts_of = jax.jit(subspace_loss)
exponent_of = jax.jit(gain_weight_exponent)
share_of, steps_of = jax.jit(filter_factor), jax.jit(accumulated_steps)
weight_of = jax.jit(gain_weight)


@given(st.integers(-5, 44), st.integers(0, 40))
def test_filter_and_accumulated_steps_are_those_of_exact_arithmetic(twentieths: int, steps: int) -> None:
    rate = Fraction(twentieths, 20)
    total = sum((1 - rate) ** step for step in range(steps))
    scale = max(1.0, float(abs(1 - rate) ** steps))
    assert share_of(float(rate), steps).item() == pytest.approx(float(1 - (1 - rate) ** steps), rel=1e-12 * scale)
    assert steps_of(float(rate), steps).item() == pytest.approx(float(total), rel=1e-12 * scale)


def test_filter_keeps_its_digits_for_tiny_rates() -> None:
    rate, steps = Fraction(1, 10**12), 1000
    exact = float(1 - (1 - rate) ** steps)
    assert filter_factor(float(rate), steps).item() == pytest.approx(exact, rel=1e-14, abs=0)
    assert 1 - (1 - float(rate)) ** steps != pytest.approx(exact, rel=1e-7, abs=0)


def test_first_order_model_errs_by_at_most_half_the_steps_squared_times_the_rate_in_the_stable_range() -> None:
    rates, steps = np.linspace(0, 2, 401)[:, None], np.arange(61.0)[None, :]
    deficit = steps - np.asarray(accumulated_steps(rates, steps))
    bound = 0.5 * steps * (steps - 1) * rates
    assert (deficit >= -1e-12).all()
    assert (deficit <= bound + 1e-9).all()
    np.testing.assert_allclose(deficit[:, 2], bound[:, 2], atol=1e-12)
    assert 9 - accumulated_steps(2.5, 9) < 0
    assert 8 - accumulated_steps(3.0, 8) > 0.5 * 8 * 7 * 3.0


@given(st.sampled_from([(4, 2), (6, 3)]), st.sampled_from([1, 3, 20]), seeds)
def test_filtered_matrix_gives_the_gain_of_branches_that_ran_all_their_steps(
    shape: tuple[int, int], steps: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    curvatures, learning_rate = 10 ** rng.uniform(-3, 0, 3), rng.uniform(0.1, 2.1)
    optima = rng.standard_normal((shape[0], 3)) + rng.standard_normal(3)
    partition = random_partition(*shape, rng, rng.uniform(0.1, 3, shape[0]))
    branches = np.zeros((shape[1], 3))
    targets = np.array([optima[list(group)].mean(axis=0) for group in partition.groups])
    for _ in range(steps):
        branches -= learning_rate * curvatures * (branches - targets)
    weights = rng.dirichlet(np.ones(shape[1]))
    products = (branches * curvatures) @ branches.T
    matrix = filtered(curvatures, optima, learning_rate, steps)
    gain = partition_gain(matrix, partition.indicators, 1.0, weights).item()
    assert gain == pytest.approx(gain_from_gram(products, weights), rel=0, abs=1e-11 * np.abs(products).max())


def test_one_filtered_step_is_the_task_matrix_times_the_squared_learning_rate() -> None:
    optima, curvatures = np.random.default_rng(2).standard_normal((4, 3)), np.array([3.0, 1.0, 0.5])
    gradients = -optima * curvatures
    expected = 0.2**2 * (gradients * curvatures) @ gradients.T
    np.testing.assert_allclose(filtered(curvatures, optima, 0.2, 1), expected, rtol=1e-12)


# --- F.6 and F.8 over several steps --------------------------------------------------------------------------------


def test_from_ten_steps_the_other_split_of_f6_wins() -> None:
    optima = np.array([[1, 1.5], [1, -1.5], [-1, 1.5], [-1, -1.5]])

    def exact(steps: int) -> tuple[Fraction, Fraction]:
        sharp = Fraction(1, 2) * 2 * (1 - (1 - Fraction(2, 4)) ** steps) ** 2
        flat = Fraction(1, 2) * (1 - (1 - Fraction(1, 4)) ** steps) ** 2 * Fraction(9, 4)
        return sharp, flat

    for steps in range(1, 25):
        matrix = filtered([2.0, 1.0], optima, 0.25, steps)
        gains = [split_gain(matrix, signs, 1.0).item() for signs in (S1, S2)]
        assert gains == pytest.approx([float(gain) for gain in exact(steps)], rel=1e-12)
        assert (gains[1] > gains[0]) == (steps >= 10)
    assert [round(float(gain), 5) for gain in exact(10)] == [0.99805, 1.00186]


def test_exponent_of_the_gain_weight_falls_from_three_to_one() -> None:
    assert exponent_of(0.005, [1, 10, 100, 1000]).tolist() == pytest.approx([3.00, 2.96, 2.54, 1.07], abs=5e-3)
    exponents = exponent_of(0.3, jnp.arange(1, 100))
    assert (jnp.diff(exponents) <= 1e-12).all()
    crossing = exponent_of(1.2564e-6, 10**6).item()
    assert crossing == pytest.approx(2, abs=1e-4)


@given(st.floats(0.01, 1.9), st.sampled_from([1, 2, 7, 40]))
def test_exponent_is_the_logarithmic_slope_of_the_weight(rate: float, steps: int) -> None:
    nudge = 1e-6
    weights = weight_of(np.array([rate * (1 - nudge), rate * (1 + nudge)]), 1.0, steps)
    slope = float(jnp.log(weights[1] / weights[0])) / (2 * nudge)
    assert exponent_of(rate, steps).item() == pytest.approx(slope, abs=1e-5 * max(1.0, abs(slope)))


def test_exponent_is_the_derivative_that_jax_takes() -> None:
    slope = jax.grad(lambda log: jnp.log(weight_of(jnp.exp(log), 0.1, 30)))(jnp.log(1.7))
    assert slope.item() == pytest.approx(exponent_of(0.17, 30).item(), rel=1e-12)


def test_exponent_can_leave_the_range_from_one_to_three_beyond_the_monotone_half_of_stability() -> None:
    assert exponent_of(1.9, 2).item() < 1
    assert exponent_of(1.9, 3).item() > 3


# --- F.3 and step 5 ------------------------------------------------------------------------------------------------


def rotated(seed: int, curvatures: Floats) -> tuple[Floats, Floats]:
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(curvatures),) * 2)).Q
    hessian = (basis * curvatures) @ basis.T
    return (hessian + hessian.T) / 2, basis


@given(st.integers(0, 4), seeds)
def test_parts_of_the_loss_add_up_and_do_not_mix_on_an_invariant_subspace(rank: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    hessian, basis = rotated(seed, np.array([9.0, 4.0, 2.0, 1.0, 0.5]))
    shift = rng.standard_normal(5)
    loss = shift @ hessian @ shift / 2
    invariant = parts_of(hessian, shift, basis[:, :rank])
    assert sum(map(float, invariant)) == pytest.approx(loss, rel=1e-12)
    assert invariant.cross.item() == pytest.approx(0, abs=1e-12 * loss)
    found = np.linalg.qr(rng.standard_normal((5, 2))).Q
    other = parts_of(hessian, shift, found)
    assert sum(map(float, other)) == pytest.approx(loss, rel=1e-12)
    assert abs(other.cross.item()) > 0


@given(st.integers(0, 4), seeds)
def test_without_sharp_components_the_loss_is_at_most_the_flat_bound(rank: int, seed: int) -> None:
    curvatures = np.array([9.0, 4.0, 2.0, 1.0, 0.5])
    hessian, basis = rotated(seed, curvatures)
    shift = basis[:, rank:] @ np.random.default_rng(seed).standard_normal(5 - rank)
    loss = shift @ hessian @ shift / 2
    assert loss <= flat_loss_bound(curvatures, rank, shift).item() * (1 + 1e-12)
    steepest = basis[:, rank]
    assert steepest @ hessian @ steepest / 2 == pytest.approx(flat_loss_bound(curvatures, rank, steepest).item())


def test_flat_bound_fails_for_a_subspace_that_is_not_invariant() -> None:
    curvatures = np.array([9.0, 1.0])
    axis, shift = np.array([[0.8], [0.6]]), np.array([0.6, -0.8])
    assert (axis.T @ shift).item() == 0
    assert parts_of(np.diag(curvatures), shift, axis).outside > flat_loss_bound(curvatures, 1, shift)


def test_effective_condition_number_suggests_a_step_that_diverges_along_the_sharp_axes() -> None:
    curvatures = [10.0, 4.0, 2.0]
    kappa = effective_condition_number(curvatures, 1).item()
    assert (kappa, effective_condition_number(curvatures, 0).item()) == (2.0, 5.0)
    suggested = 2 / (4.0 + 2.0)
    assert spectral_radius(curvatures[1:], suggested).item() == pytest.approx((kappa - 1) / (kappa + 1))
    assert spectral_radius(curvatures, suggested).item() > 1
    # Not so where the sharp axis is no sharper than the flat ones together.
    assert spectral_radius([5.0, 4.0, 2.0], suggested).item() < 1


@given(st.floats(0, 1))
def test_no_step_beyond_the_edge_of_the_sharpest_axis_is_stable(step: float) -> None:
    radius = spectral_radius([10.0, 4.0, 2.0], step).item()
    assert (radius <= 1) == (step <= 0.2)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: filter_factor(0.1, -1), "whole numbers"),
        (lambda: filter_factor(0.1, 1.5), "whole numbers"),
        (lambda: gain_weight_exponent(2.5, 3), "0 < ηλ < 2"),
        (lambda: gain_weight_exponent(0.5, 0), "at least one step"),
        (lambda: filtered_task_matrix([1.0], np.ones((3, 2)), 0.1, 1), r"curvatures \(1,\)"),
        (lambda: filtered_task_matrix([1.0], [[np.inf]], 0.1, 1), "non-finite"),
        (lambda: subspace_loss(np.eye(3), np.ones(2), np.eye(2)), r"Hessian has shape \(3, 3\)"),
        (lambda: subspace_loss(np.eye(2), np.ones(2), 2 * np.eye(2)), "not orthonormal"),
        (lambda: flat_loss_bound([1.0, 2.0], 2, [1.0, 1.0]), "2 sharp directions"),
        (lambda: effective_condition_number([1.0, 0.0], 1), "smallest eigenvalue is 0"),
    ],
)
def test_what_is_no_descent_on_a_quadratic_is_refused(call, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        call()
