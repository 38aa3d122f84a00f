"""Unequal Hessians: what the gain and the drift of every split must satisfy, and that a shared Hessian undoes it."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from simulations import heterogeneous_hessians
from simulations.heterogeneous_hessians import Config, Result, simulate
from simulations.unequal_tasks import draw_unequal_tasks, rows_of_balanced_splits

CONFIG = Config(draws=6, n_tasks=6, dimension=3, steps=(2, 20), drift_rates=(1e-4, 1e-3))


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(CONFIG)


def test_mean_branch_loss_is_merged_loss_plus_the_gain(result: Result) -> None:
    np.testing.assert_allclose(result.branch_loss, result.merged_loss + result.gain, rtol=1e-9)
    assert (result.gain > 0).all()


def test_from_the_optimum_no_split_merges_below_joint_training_which_stays(result: Result) -> None:
    assert result.joint_equal_steps[0].max() < 1e-25
    assert result.joint_equal_tokens[0].max() < 1e-25
    assert (result.merged_loss[0] > 1e-12).all()


def test_more_tokens_take_joint_training_lower_from_a_generic_start(result: Result) -> None:
    assert (result.joint_equal_tokens[1] < result.joint_equal_steps[1]).all()


def test_a_larger_gain_merges_worse(result: Result) -> None:
    assert result.correlation.shape == (2, 2, 6)
    assert result.correlation[0].mean() > 0.2


def test_pca_of_the_task_matrix_finds_a_large_gain(result: Result) -> None:
    assert (result.of_rule(result.gain, 0)[:, 0] > result.gain.mean(axis=-1)[:, 0]).mean() > 0.8
    # The control: an arbitrary split does not.
    first = result.gain[..., 0]
    assert (first[:, 0] > result.gain.mean(axis=-1)[:, 0]).mean() < 0.8


def test_theorem_c_is_exact_after_two_steps_and_its_error_is_proportional_to_the_rate(result: Result) -> None:
    assert result.drift_error_two_steps.max() < 1e-9
    np.testing.assert_allclose(result.drift_slope, 1, atol=0.02)
    assert (result.drift_error[1] > 1e-4).all()


def test_some_branch_is_stable_no_longer_than_joint_training(result: Result) -> None:
    assert (result.gradient_descent_edge <= 1 + 1e-9).all()
    assert (result.sgd_edge <= 1 + 1e-9).all()
    assert (result.gradient_descent_edge < 0.99).any()


def test_with_a_shared_hessian_the_split_does_not_reach_the_merged_model() -> None:
    unequal = draw_unequal_tasks(np.random.default_rng(0), draws=2, n_tasks=6, dimension=3, away=1.0)
    shared = unequal._replace(hessians=jnp.broadcast_to(unequal.hessians[:, :1], unequal.hessians.shape))
    rows, steps = rows_of_balanced_splits(6), jnp.array([20])
    spread = [
        np.ptp(np.asarray(heterogeneous_hessians._losses(tasks, rows, 0.1, steps).merged), axis=-1).max()
        for tasks in (shared, unequal)
    ]
    assert spread[0] < 1e-12 < 1e-4 < spread[1]


def test_findings_are_json_and_follow_from_the_seed(result: Result) -> None:
    text = json.dumps(result.findings, allow_nan=False)
    assert json.dumps(simulate(CONFIG).findings, allow_nan=False) == text
