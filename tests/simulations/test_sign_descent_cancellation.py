"""Sign descent and Adam: cancellation without noise, none at low signal to noise, none with frozen second moments."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulations import sign_descent_cancellation
from simulations.sign_descent_cancellation import OPTIMISERS, Config, Result, simulate

CONFIG = Config(draws=4, random_splits=5, signal_to_noise=(0.01, 1.0, 1000.0), steps=60, runs=4)
PCA, RANDOM = 0, 1
FROZEN = OPTIMISERS.index("Adam, one frozen second moment")


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(CONFIG)


def test_without_noise_exactly_the_disagreeing_coordinates_cancel(result: Result) -> None:
    np.testing.assert_allclose(result.noiseless_length[PCA], np.sqrt(1 - result.disagreement[PCA]), rtol=1e-12)
    assert (result.disagreement[PCA] > result.disagreement[RANDOM]).all()


def test_cancellation_grows_with_signal_to_noise_and_vanishes_without_signal(result: Result) -> None:
    assert (np.diff(result.length, axis=1) < 0).all()
    assert result.length[:, 0].min() > 0.999
    np.testing.assert_allclose(result.length[:, -1], result.noiseless_length, atol=0.02)


def test_the_pca_split_loses_more_than_a_random_one(result: Result) -> None:
    assert (result.length[PCA, 1:] < result.length[RANDOM, 1:]).all()
    assert (result.descent[PCA, 1:] < result.descent[RANDOM, 1:]).all()


def test_simulated_sign_descent_follows_its_closed_form(result: Result) -> None:
    np.testing.assert_allclose(result.simulated_length[0, PCA, 1:], result.length[PCA, 1:], atol=0.03)


def test_without_noise_every_optimiser_makes_its_known_steps() -> None:
    means = jnp.array([[3.0, -1.0], [2.0, -4.0]])
    moved = np.asarray(sign_descent_cancellation._displacements(jax.random.key(0), means, jnp.array(0.0), 5, 2))
    signs = [[-5.0, 5.0], [-5.0, 5.0]]
    # The frozen second moments are those of the last mean, (4, 16).
    expected = np.array([signs, signs, [[-7.5, 1.25], [-5.0, 5.0]]])
    np.testing.assert_allclose(moved, np.broadcast_to(expected[:, None], moved.shape), rtol=1e-12)


def test_adam_with_its_own_second_moments_cancels_like_sign_descent_without_noise(result: Result) -> None:
    np.testing.assert_allclose(result.simulated_length[1, :, -1], result.simulated_length[0, :, -1], atol=1e-3)
    assert result.simulated_length[1, PCA, -1].max() < 0.8


def test_one_frozen_second_moment_makes_merged_equal_to_joint_at_any_noise(result: Result) -> None:
    np.testing.assert_allclose(result.simulated_length[FROZEN, :, 1], 1, atol=0.03)
    np.testing.assert_allclose(result.simulated_length[FROZEN, :, -1], 1, atol=1e-3)


def test_findings_are_json_and_follow_from_the_seed(result: Result) -> None:
    text = json.dumps(result.findings, allow_nan=False)
    assert json.dumps(simulate(CONFIG).findings, allow_nan=False) == text
