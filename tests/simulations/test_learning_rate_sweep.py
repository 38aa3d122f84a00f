from dataclasses import replace

import numpy as np
import pytest

from simulations.learning_rate_sweep import ARMS, EQUAL_STEPS, JOINT, LEVELS, RULES, Config, Result, simulate

CONFIG = Config(
    instances=3, n_tasks=16, dimension=4, rates=(0.01, 1.0, 1.9, 2.05), sampled_instances=2, runs=40
)  # fmt: skip


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(CONFIG)


def test_at_small_rates_fewer_steps_are_the_whole_difference(result: Result) -> None:
    joint = result.of(JOINT[0], 0)[0]
    finer = [result.of(f"{RULES[0]}, {2**level} groups", 0)[0] for level in LEVELS]
    assert (np.diff([joint, *finer], axis=0) > 0).all()
    np.testing.assert_allclose(result.of(EQUAL_STEPS, 0)[0], joint, rtol=0.02)


def test_near_the_edge_a_merge_averages_noise_away(result: Result) -> None:
    joint = result.of(JOINT[0], 0)[2]
    for rule in RULES:
        assert (result.of(f"{rule}, 8 groups", 0)[2] < 0.5 * joint).all()


def test_swapped_groups_have_less_noise_than_random_ones(result: Result) -> None:
    swapped, chance = (result.of(f"{rule}, 4 groups", 0) for rule in RULES[1:])
    assert (swapped[1:] < chance[1:]).all()


def test_reshuffling_adds_no_noise_up_to_a_rate_of_one_and_adds_some_beyond(result: Result) -> None:
    up_to_one = result.rates <= 1
    replaced, reshuffled = result.loss
    assert (reshuffled[:, up_to_one] <= replaced[:, up_to_one] * (1 + 1e-12)).all()
    assert (reshuffled[:, up_to_one] < 0.99 * replaced[:, up_to_one]).any()
    assert (reshuffled[:, ~up_to_one] > replaced[:, ~up_to_one]).any()


def test_beyond_the_edge_joint_and_merge_grow_at_the_same_rate_per_step(result: Result) -> None:
    growth = result.findings["growth of log loss per step at η = 2.05, beyond the edge"]
    assert growth["predicted"] == pytest.approx(2 * np.log(1.05))
    assert growth["found"]["joint"]["mean"] == pytest.approx(growth["predicted"], rel=0.4)
    assert growth["found"]["merge"]["mean"] == pytest.approx(growth["predicted"], rel=0.4)


def test_sampled_runs_follow_the_law_and_stratified_batches_the_merge(result: Result) -> None:
    assert np.abs(result.law_error).max() < 5
    assert result.stratified_difference.max() < 1e-12


def test_every_arm_takes_the_tokens_it_says(result: Result) -> None:
    steps = dict(zip(result.arms.tolist(), result.steps.tolist(), strict=True))
    assert set(steps) == set(ARMS)
    assert [steps[name] for name in JOINT] == [32, 64, 8]
    assert [steps[f"{RULES[2]}, {2**level} groups"] for level in LEVELS] == [16, 8, 4]
    assert steps[EQUAL_STEPS] == 32


def test_own_hessians_are_sampled_for_all_rates(result: Result) -> None:
    assert result.own_hessians.shape == (7, 4, 2)
    assert (result.own_hessians > 0).all()


def test_the_seed_decides_everything(result: Result) -> None:
    again, other = simulate(CONFIG), simulate(replace(CONFIG, seed=1))
    np.testing.assert_array_equal(again.loss, result.loss)
    np.testing.assert_array_equal(again.own_hessians, result.own_hessians)
    assert not np.array_equal(other.loss, result.loss)


@pytest.mark.parametrize("wrong", [{"n_tasks": 12}, {"rates": (0.1, 1.0, 1.9)}, {"rates": (1.0, 0.1, 2.1)}])
def test_sizes_that_make_no_sweep_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"expected|need"):
        Config(**wrong)


def test_one_reshuffled_epoch_leaves_little_of_the_advantage_of_pca_at_small_rates_and_all_at_large(
    result: Result,
) -> None:
    left = result.findings["what reshuffling leaves of the advantage of 2 PCA groups over random ones"]
    assert left["predicted"]["η = 0.01"] == pytest.approx(0.01**2 * 16**2 / 12, rel=0.01)
    assert abs(left["found"]["η = 0.01"]["mean"]) < 0.01
    assert left["found"]["η = 1"]["mean"] > 0.7
