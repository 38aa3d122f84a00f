from dataclasses import replace

import numpy as np
import pytest

from simulations.recursive_splits import Config, Result, simulate

CONFIG = Config(instances=4, n_tasks=8, dimension=6, joint_steps=16, rates=(1e-5, 0.5))
AXES, RANDOM = 0, 1
STEPS, TOKENS = 0, 1
SMALL, LARGE = 0, 1


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(CONFIG)


def test_refinement_never_lowers_the_gain_at_equal_steps_and_lowers_it_at_equal_tokens(result: Result) -> None:
    assert (np.diff(result.gain[:, :, STEPS], axis=2) > 0).all()
    assert (np.diff(result.gain[SMALL, AXES, TOKENS], axis=0) < 0).all()


def test_random_gain_grows_as_groups_less_one_and_is_divided_by_their_square(result: Result) -> None:
    relative = result.random_gain[SMALL] / result.random_gain[SMALL, STEPS, 0]
    np.testing.assert_allclose(relative[STEPS].T, np.broadcast_to([1, 3, 7], (4, 3)))
    np.testing.assert_allclose(relative[TOKENS].T, np.broadcast_to([1 / 4, 3 / 16, 7 / 64], (4, 3)))


def test_the_first_order_gain_is_exact_for_small_rates_only(result: Result) -> None:
    np.testing.assert_allclose(result.gain[SMALL], result.first_order_gain[SMALL], rtol=1e-3)
    assert (result.gain[LARGE, :, STEPS] < 0.5 * result.first_order_gain[LARGE, :, STEPS]).all()


def test_the_merged_model_of_gradient_descent_does_not_depend_on_the_split_and_that_of_sgd_does(result: Result) -> None:
    np.testing.assert_allclose(result.merged_loss[:, AXES], result.merged_loss[:, RANDOM], rtol=1e-10)
    equal_steps = result.merged_loss[:, AXES, STEPS]
    np.testing.assert_allclose(
        equal_steps, np.broadcast_to(result.joint_loss[0][:, None], equal_steps.shape), rtol=1e-10
    )
    noise = result.sgd_merged_loss - result.merged_loss
    assert (noise[LARGE, AXES, STEPS, :2].mean(axis=1) < 0.8 * noise[LARGE, RANDOM, STEPS, :2].mean(axis=1)).all()


def test_finer_splits_average_more_noise_away_at_equal_steps(result: Result) -> None:
    assert (np.diff(result.sgd_merged_loss[LARGE, :, STEPS], axis=1) < 0).all()
    assert (result.sgd_merged_loss[LARGE, :, STEPS] < result.joint_loss[1, LARGE]).all()


def test_groups_of_one_task_have_no_noise(result: Result) -> None:
    np.testing.assert_allclose(result.sgd_merged_loss[..., 2, :], result.merged_loss[..., 2, :], rtol=1e-12)


def test_the_seed_decides_everything(result: Result) -> None:
    np.testing.assert_array_equal(simulate(CONFIG).gain, result.gain)
    assert not np.array_equal(simulate(replace(CONFIG, seed=1)).gain, result.gain)


def test_findings_compare_random_halving_with_its_expectation(result: Result) -> None:
    growth = result.findings["gain of random halving at equal steps, first order, over its expectation with 2 groups"]
    assert growth["predicted"] == {"2 groups": 1.0, "4 groups": 3.0, "8 groups": 7.0}
    assert growth["found"]["8 groups"]["mean"] == pytest.approx(7.0)


def test_what_cannot_be_halved_three_times_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        Config(n_tasks=12)
