"""Swaps on the Gram matrix: less variance within groups, and the benefit that theorem B allows."""

import json

import numpy as np
import pytest

from merit_theory.sgd_law import one_pass_factor
from simulations import swap_on_gram
from simulations.swap_on_gram import Config, Result, simulate

CONFIG = Config(
    draws=6,
    n_tasks=6,
    dimension=2,
    random_splits=6,
    examples_per_task=40,
    learning_rates=(0.01, 0.1),
    epochs=(1, 4),
    runs=60,
)


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(CONFIG)


def test_swaps_never_raise_the_variance_within_groups(result: Result) -> None:
    random, pca, swapped = result.within_share
    assert (swapped <= pca + 1e-12).all()
    assert swapped.mean() < random.mean()
    assert ((result.within_share > 0) & (result.within_share <= 1)).all()


def test_variance_within_groups_is_none_of_equal_tasks_and_all_of_mixed_ones() -> None:
    gradients = np.array([[[1.0], [1.0], [-1.0], [-1.0]]])
    apart, mixed = [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], [[0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5]]
    share = swap_on_gram._within_share(np.array([[apart, mixed, apart, mixed]]), gradients)
    assert share[:, 0].tolist() == [0.5, 0.0, 1.0]


def test_no_split_moves_the_mean_so_only_noise_tells_merges_apart(result: Result) -> None:
    # Batches of two over both groups have the noise of all tasks, which no split within groups exceeds.
    assert (result.merged_loss <= result.joint_loss[2] * (1 + 1e-9))[:, 0].all()
    assert (result.merged_loss[2] < result.merged_loss[0]).mean() > 0.9


def test_advantage_grows_with_rate_and_epochs_and_falls_with_noise_within_tasks(result: Result) -> None:
    replaced = result.advantage[0].mean(axis=-1)
    assert (np.diff(replaced, axis=1) > 0).all()
    assert (np.diff(replaced, axis=2) > 0).all()
    assert (replaced[1] < replaced[0]).all()


def test_one_reshuffled_pass_keeps_the_share_of_the_saving_that_the_factor_says(result: Result) -> None:
    saved = (result.merged_loss[0] - result.merged_loss[2])[:, 0, 0].mean(axis=-1)
    steps = CONFIG.n_tasks // 2 * CONFIG.examples_per_task
    # Both eigenvalues, 1 and 1/2, have their own factor; the saving lies between.
    low, high = (
        np.asarray(one_pass_factor(np.array(CONFIG.learning_rates) * curvature * steps)) for curvature in (0.5, 1.0)
    )
    assert (saved[1] / saved[0] > 0.95 * low).all()
    assert (saved[1] / saved[0] < 1.05 * high).all()
    # The control: without reshuffling nothing is lost.
    assert (saved[1] < saved[0]).all()


def test_stratified_joint_training_has_the_same_loss_without_merging(result: Result) -> None:
    mean, error = result.stratified_ratio.mean(axis=1), result.stratified_ratio.std(axis=1, ddof=1) / 6**0.5
    assert (np.abs(mean - 1) < 4 * error).all()
    assert (error < 0.1).all()


def test_plain_batches_do_not_match_it(result: Result) -> None:
    cell = (0, 0, -1)
    plain = result.joint_loss[2, 0][cell] / result.merged_loss[2, 0][cell]
    assert plain.mean() > 1.1
    # But a batch of two is quieter than one example, at as many steps.
    assert (result.joint_loss[2] < result.joint_loss[0]).all()


def test_findings_are_json_and_follow_from_the_seed(result: Result) -> None:
    assert (result.gain > 0).all()
    text = json.dumps(result.findings, allow_nan=False)
    assert json.dumps(simulate(CONFIG).findings, allow_nan=False) == text
