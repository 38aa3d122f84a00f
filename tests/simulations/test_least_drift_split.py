"""The least-drift split: its number orders distances exactly at first, the gain does not, and theorem A ends it."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from simulations import least_drift_split
from simulations.least_drift_split import Config, Result, simulate
from simulations.unequal_tasks import draw_unequal_tasks, rows_of_balanced_splits

CONFIG = Config(draws=5, n_tasks=6, dimension=4, progress=(1e-4, 0.5), sketch_sizes=(4, 4000))


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(CONFIG)


def test_the_drift_norm_is_the_distance_per_squared_step_for_small_steps(result: Result) -> None:
    # ½η²τ(τ-1) with ητ = 1e-4 and τ = 20.
    expected = 0.5 * 1e-8 * (19 / 20) * result.drift_norm
    np.testing.assert_allclose(result.distance[0], expected, rtol=1e-3)
    assert (result.correlations["drift norm"][0] > 0.999).all()


def test_the_gain_orders_distances_less_well(result: Result) -> None:
    assert (result.correlations["gain"] < result.correlations["drift norm"]).all()


def test_the_split_of_least_drift_merges_closest_for_small_steps(result: Result) -> None:
    closest = result.of_split(result.distance, result.chosen["least drift"])[0]
    np.testing.assert_array_equal(closest, result.distance[0].min(axis=-1))
    assert (result.of_split(result.distance, result.pca)[0] > closest).all()


def test_sketches_estimate_the_drift_norm_the_better_the_larger(result: Result) -> None:
    errors = np.abs(result.sketched_drift_norm / result.drift_norm - 1).mean(axis=(1, 2))
    assert errors[1] < 0.03 < errors[0]


def test_mean_branch_loss_is_merged_loss_plus_the_gain(result: Result) -> None:
    np.testing.assert_allclose(result.branch_loss, result.merged_loss + result.gain, rtol=1e-9)


def test_with_a_shared_hessian_there_is_no_distance_to_predict() -> None:
    unequal = draw_unequal_tasks(np.random.default_rng(0), draws=2, n_tasks=4, dimension=3, away=1.0)
    shared = unequal._replace(hessians=jnp.broadcast_to(unequal.hessians[:, :1], unequal.hessians.shape))
    rows, progress, steps = rows_of_balanced_splits(4), jnp.array([0.5]), jnp.array(20)
    shared_distance, distance = (
        np.asarray(least_drift_split._measure(tasks, rows, progress, steps).distance) for tasks in (shared, unequal)
    )
    assert shared_distance.max() < 1e-13 < 1e-3 < distance.max()


def test_findings_are_json_and_follow_from_the_seed(result: Result) -> None:
    text = json.dumps(result.findings, allow_nan=False)
    assert json.dumps(simulate(CONFIG).findings, allow_nan=False) == text
