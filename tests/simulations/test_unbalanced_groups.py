"""Unequal groups: which merge is unbiased where, exactly."""

import json

import numpy as np
import pytest

from simulations.unbalanced_groups import CUTS, MERGES, Config, Result, simulate

CONFIG = Config(draws=4, n_tasks=12, dimension=4, steps=4000, progress=(0.001, 1.0, 40.0))
TOKENS, UNIFORM = range(len(MERGES))
EQUAL, PROPORTIONAL = range(2)


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(CONFIG)


def test_token_weights_are_joint_training_at_equal_steps_and_uniform_ones_are_not(result: Result) -> None:
    assert result.bias[EQUAL, TOKENS].max() < 1e-12
    np.testing.assert_allclose(result.merged_loss[EQUAL, TOKENS, 0], result.joint_equal_steps, rtol=1e-6, atol=1e-20)
    assert result.bias[EQUAL, UNIFORM].max() > 0.05


def test_at_steps_in_proportion_uniform_weights_are_right_at_first_and_token_weights_in_the_end(result: Result) -> None:
    first, last = result.bias[PROPORTIONAL, :, :, 0], result.bias[PROPORTIONAL, :, :, -1]
    assert first[UNIFORM].max() < 1e-3
    assert last[TOKENS].max() < 1e-6
    # And each is wrong where the other is right.
    assert first[TOKENS].max() > 0.05
    assert last[UNIFORM].max() > 0.05
    assert (result.crossing > 0.001).all()
    assert (result.crossing <= 40).all()


def test_first_steps_count_a_large_group_twice_as_the_uniform_merge_of_equal_steps_counts_a_small_one(
    result: Result,
) -> None:
    # δ̄ ∝ p²ḡ₁ + q²ḡ₂ and ½(ḡ₁ + ḡ₂) with pḡ₁ + qḡ₂ = 0 have the same length p - q relative to their branches.
    np.testing.assert_allclose(result.bias[PROPORTIONAL, TOKENS, :, 0], result.bias[EQUAL, UNIFORM, :, 0], rtol=0.01)


def test_a_cut_by_tokens_leaves_the_most_equal_groups(result: Result) -> None:
    assert (result.larger_share[CUTS.index("tokens")] <= result.larger_share + 1e-12).all()
    assert (result.larger_share >= 0.5).all()


def test_the_smallest_instance_has_its_closed_form(result: Result) -> None:
    x = result.progress
    one, three = 1 - np.exp(-x), 1 - np.exp(-3 * x)
    np.testing.assert_allclose(result.instance_error[TOKENS], 0.75 * one - 0.75 * three, rtol=2e-2, atol=1e-7)
    np.testing.assert_allclose(result.instance_error[UNIFORM], 1.5 * one - 0.5 * three, rtol=2e-2, atol=1e-6)


def test_mean_branch_loss_is_merged_loss_plus_the_gain(result: Result) -> None:
    np.testing.assert_allclose(result.branch_loss, result.merged_loss + result.gain, rtol=1e-9, atol=1e-20)


def test_findings_are_json_and_follow_from_the_seed(result: Result) -> None:
    text = json.dumps(result.findings, allow_nan=False)
    assert json.dumps(simulate(CONFIG).findings, allow_nan=False) == text
