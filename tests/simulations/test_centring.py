from dataclasses import fields, replace

import numpy as np
import pytest

from simulations.centring import AXES, Config, Result, simulate

CONFIG = Config(instances=8, n_tasks=8, means=(0.0, 10.0), spreads=(0.0, 0.4), tilts=(0.0, 0.5), noise=0.3)
NO_MEAN, MEAN = 0, 1
NO_SPREAD, SPREAD = 0, 1


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(CONFIG)


def axis(name: str) -> int:
    return AXES.index(name)


def test_without_mean_and_spread_all_axes_find_the_conflict(result: Result) -> None:
    assert (result.alignment[:, NO_MEAN, NO_SPREAD] > 0.99).all()
    assert np.isclose(result.gain[:, NO_MEAN, NO_SPREAD], 1).all()


def test_uncentred_axes_lose_the_conflict_to_a_shared_mean(result: Result) -> None:
    uncentred = result.gain[0, MEAN, NO_SPREAD, axis("cosine, centring none")]
    assert uncentred.mean() < 0.5
    for kept in ("cosine, centring rows", "cosine, centring double", "gram, centring double"):
        assert (result.alignment[0, MEAN, NO_SPREAD, axis(kept)] > 0.99).all()


def test_norms_pass_for_conflict_in_the_gram_matrix_and_not_in_the_cosine_matrix(result: Result) -> None:
    alignment = result.alignment[:, MEAN, SPREAD]
    assert alignment[:, axis("gram, centring double")].mean() < 0.5
    assert (alignment[:, axis("cosine, centring double")] > 0.95).all()


def test_the_gain_rewards_differences_of_norm(result: Result) -> None:
    gain = result.gain[:, MEAN, SPREAD]
    assert gain[:, axis("gram, centring double")].mean() > 0.95
    assert gain[:, axis("cosine, centring double")].mean() < 0.7


def test_no_axis_beats_the_optimum(result: Result) -> None:
    assert (result.gain <= 1 + 1e-12).all()
    assert (result.random_gain < 1).all()


def test_the_bound_of_f_4_holds_between_doubly_centred_axes(result: Result) -> None:
    sine = np.sqrt(np.maximum(0.0, 1 - result.agreement[..., 2, :] ** 2))
    assert (sine <= result.bound + 1e-9).all()
    assert (result.bound[..., SPREAD, :] >= 1).all()
    assert (result.bound[:, NO_MEAN, NO_SPREAD] < 1).any()


def test_two_axes_agree_on_at_least_half_of_the_tasks(result: Result) -> None:
    assert (result.same_side >= 0.5).all()
    assert (result.same_side[:, NO_MEAN, NO_SPREAD] == 1).all()


def test_the_seed_decides_everything(result: Result) -> None:
    again, other = simulate(CONFIG), simulate(replace(CONFIG, seed=1))
    assert all(np.array_equal(getattr(again, f.name), getattr(result, f.name)) for f in fields(Result))
    assert not np.array_equal(other.gain, result.gain)


def test_findings_follow_the_largest_spread(result: Result) -> None:
    key = "alignment with the conflict, gram, centring double, norm spread 0.4"
    told = result.findings[key]["found"]["tilt 0"]["mean 10"]
    assert told["mean"] == pytest.approx(result.alignment[0, MEAN, SPREAD, axis("gram, centring double")].mean())


@pytest.mark.parametrize("wrong", [{"n_tasks": 18}, {"n_tasks": 7}, {"tilts": (1.0,)}])
def test_impossible_sizes_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
