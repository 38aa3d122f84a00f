"""The small network: gain and merged loss near the start, the arms beside each other, and one task twice as control."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from simulations import small_network
from simulations.small_network import Config, Result, simulate

CONFIG = Config(seeds=3, n_tasks=4, inputs=3, hidden=4, examples=6, held_out=20, primer_steps=20, snapshots=(2, 8, 20))


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(CONFIG)


def test_short_gradient_descent_merges_to_joint_training_and_short_adam_does_not(result: Result) -> None:
    def missed(optimiser: int) -> float:
        joint = result.joint_equal_steps[optimiser, 0]
        away = np.abs(result.merged_loss[optimiser, 0] - joint[:, None]).mean()
        return float(away / np.abs(result.start_loss - joint).mean())

    # The merge is off at second order in the step, and under Adam at first order, by updates that cancel.
    assert missed(0) < 0.05 < missed(1)


def test_the_gain_is_positive_near_the_start_and_splits_differ_in_it(result: Result) -> None:
    assert (result.gain[0, :, :, :, 0] > 0).all()
    assert (np.ptp(result.gain[..., 0], axis=-1) > 0).all()


def test_more_joint_steps_fit_the_training_data_better(result: Result) -> None:
    arms = [result.joint_half_steps, result.joint_equal_steps, result.joint_equal_tokens]
    losses = np.stack(arms)[:, 0, :, :, 0]
    assert (np.diff(losses, axis=0) < 0).all()
    assert (np.diff(result.joint_equal_steps[0, ..., 0], axis=0) < 0).all()


def test_groups_that_hold_the_same_examples_merge_to_joint_training() -> None:
    rng = np.random.default_rng(0)
    training, _ = small_network._draw_tasks(CONFIG, rng)
    twice = jax.tree.map(lambda leaf: leaf[:, jnp.array([0, 1, 0, 1])], training)
    halves = small_network._pooled(twice, np.array([[0, 1], [2, 3], [0, 2]]))
    everything = small_network._pooled(twice, np.array([[0, 1, 2, 3]]))
    start = jnp.asarray(rng.standard_normal((CONFIG.seeds, 1, 4 * 5 + 1)))
    for adam in (False, True):
        moved, joint = (
            np.asarray(small_network._train(start, data, jnp.array([5]), 0.01, adam, (3, 4))[0])
            for data in (halves, everything)
        )
        np.testing.assert_allclose(moved[:, :2].mean(axis=1), joint[:, 0], rtol=1e-9, atol=1e-12)
        assert np.abs(moved[:, 2] - joint[:, 0]).max() > 1e-3


def test_the_sign_flips_after_the_last_snapshot_that_correlates_positively(result: Result) -> None:
    # With the gain itself as merged loss the correlation is one, with its negative minus one.
    gain = np.arange(12.0).reshape(1, 1, 1, 3, 4).repeat(3, axis=1).repeat(2, axis=2)[..., :2]
    signs = np.array([1.0, 1.0, -1.0]).reshape(1, 3, 1, 1, 1)
    merged = np.concatenate([gain * signs] * 2)
    crafted = replace(result, merged_loss=merged, branch_loss=merged + np.concatenate([gain] * 2))
    assert crafted.sign_flips_at(0, 0) == 20
    assert (
        replace(crafted, merged_loss=-merged[:, ::-1], branch_loss=crafted.gain - merged[:, ::-1]).sign_flips_at(1, 1)
        == 8
    )
    never = np.concatenate([gain] * 2)
    assert replace(result, merged_loss=never, branch_loss=2 * never).sign_flips_at(0, 0) is None


def test_findings_are_json_and_follow_from_the_seed(result: Result) -> None:
    text = json.dumps(result.findings, allow_nan=False)
    again = simulate(CONFIG)
    assert json.dumps(again.findings, allow_nan=False) == text
    np.testing.assert_array_equal(again.merged_loss, result.merged_loss)
