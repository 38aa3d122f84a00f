"""The drift-corrected merge: its order, the order of its controls, and what it must not change."""

import json

import numpy as np
import pytest

from simulations.drift_corrected_merge import ARMS, DISTANCES, Config, Result, simulate

CONFIG = Config(draws=6, n_tasks=4, dimension=3, steps=10, progress=(0.01, 0.02, 0.4))


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(CONFIG)


def test_the_correction_raises_the_order_from_two_to_three(result: Result) -> None:
    merged, corrected, _, _ = result.slope
    np.testing.assert_allclose(merged, 2, atol=0.05)
    np.testing.assert_allclose(corrected, 3, atol=0.1)


def test_one_plain_step_in_its_place_does_not(result: Result) -> None:
    _, _, stepped, stepped_from_next = result.slope
    np.testing.assert_allclose(stepped, 1, atol=0.1)
    np.testing.assert_allclose(stepped_from_next, 2, atol=0.05)
    assert (result.distance[DISTANCES.index("merged and one plain step")] > result.distance[1]).all()


def test_mean_branch_loss_is_merged_loss_plus_the_gain(result: Result) -> None:
    branches, merged = result.loss[ARMS.index("branches, mean")], result.loss[ARMS.index("merged")]
    np.testing.assert_allclose(branches, merged + result.gain, rtol=1e-9)


def test_the_corrected_loss_is_nearer_to_that_of_joint_training(result: Result) -> None:
    joint = result.loss[ARMS.index("joint at equal steps")]
    assert (np.abs(result.loss[2] - joint) < np.abs(result.loss[1] - joint)).all()


def test_findings_are_json_and_follow_from_the_seed(result: Result) -> None:
    text = json.dumps(result.findings, allow_nan=False)
    assert json.dumps(simulate(CONFIG).findings, allow_nan=False) == text
    other = simulate(Config(draws=6, n_tasks=4, dimension=3, steps=10, progress=(0.01, 0.02, 0.4), seed=1))
    assert (other.distance != result.distance).all()
