"""The theory refuses to compute in single precision, and checks numbers only where it can see them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from merit_theory.hessian import DenseHessian, DiagonalHessian, LowRankHessian
from merit_theory.linear_quadratic import LinearQuadraticModel, effective_steps, gradient_descent
from merit_theory.merging import contraction, merged_displacement, merging_gain
from merit_theory.precision import as_float64, check_finite, check_unit_sum, is_concrete
from merit_theory.sgd_law import one_pass_factor, spread_with_replacement

HALVES = np.array([0.5, 0.5])


@pytest.mark.parametrize(
    "compute",
    [
        lambda: DenseHessian(np.eye(2)),
        lambda: DiagonalHessian(np.ones(2)),
        lambda: LowRankHessian(np.ones(1), np.ones((2, 1)), np.ones(1)),
        lambda: LinearQuadraticModel(np.eye(2), np.eye(2)),
        lambda: effective_steps(np.ones(2), 3),
        lambda: gradient_descent(np.eye(2), np.ones(2), 0.1, 3),
        lambda: merged_displacement(np.eye(2), HALVES),
        lambda: merging_gain(np.eye(2), np.eye(2), HALVES),
        lambda: contraction(np.eye(2), HALVES),
        lambda: spread_with_replacement(np.ones(2), 3),
        lambda: one_pass_factor(np.ones(2)),
    ],
)
def test_every_entry_refuses_to_work_without_float64(compute: Callable[[], object]) -> None:
    compute()
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        compute()


def test_single_precision_input_is_computed_in_double() -> None:
    model = LinearQuadraticModel(jnp.eye(2, dtype=jnp.float32), jnp.ones((3, 2), dtype=jnp.float32))
    assert model.task_gradients(jnp.zeros(2)).dtype == jnp.float64
    assert merging_gain(jnp.eye(2, dtype=jnp.float32), jnp.eye(2, dtype=jnp.float32), HALVES).dtype == jnp.float64


def test_the_first_number_that_is_not_finite_is_named() -> None:
    with pytest.raises(ValueError, match=r"the optima .* \(1, 0\)"):
        check_finite("the optima", as_float64("the optima", [[1.0, 2.0], [np.inf, np.nan]]))


@pytest.mark.parametrize("weights", [[0.5, 0.4], [[0.5, 0.5], [0.7, 0.4]]])
def test_weights_that_do_not_sum_to_one_are_refused(weights: list) -> None:
    with pytest.raises(ValueError, match=r"weights sum to (0.9|1.1); expected sum 1"):
        check_unit_sum("weights", jnp.array(weights))


def test_large_weights_of_both_signs_may_sum_to_one_up_to_their_rounding() -> None:
    check_unit_sum("weights", jnp.array([1e9 + 1, -1e9]))


def test_concrete_numbers_are_checked_inside_a_transformation_too() -> None:
    hessian, weights, unbalanced = jnp.eye(2), jnp.array([0.5, 0.5]), jnp.array([0.5, 1.0])
    gain = jax.jit(lambda moved: merging_gain(hessian, moved, weights))
    assert gain(jnp.array([[1.0, 0.0], [-1.0, 0.0]])) == 0.5
    with pytest.raises(ValueError, match=r"sum to 1\.5"):
        jax.jit(lambda moved: merging_gain(hessian, moved, unbalanced))(jnp.eye(2))


def test_traced_numbers_are_not_looked_at() -> None:
    seen = []

    @jax.jit
    def traced(weights: jax.Array) -> jax.Array:
        seen.append(is_concrete(weights))
        check_unit_sum("weights", weights)
        return weights.sum()

    assert traced(jnp.array([3.0, 4.0])) == 7
    assert seen == [False]
