from dataclasses import fields, replace

import numpy as np
import pytest

from simulations.merged_against_gain import Config, Result, simulate

CONFIG = Config(instances=6, n_tasks=6, dimension=3, heterogeneity=(0.0, 1.0), steps=(2, 30))
SHARED, OWN = 0, 1


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(CONFIG)


def test_under_a_shared_hessian_every_split_merges_to_joint_training(result: Result) -> None:
    assert result.merged_loss.shape[-1] == 10
    assert result.spread_over_splits(SHARED) < 1e-12
    difference = np.abs(result.merged_loss[SHARED] - result.joint_equal_steps[SHARED][..., None])
    assert (difference < 1e-12 * result.branch_loss[SHARED]).all()


def test_with_own_hessians_the_split_matters(result: Result) -> None:
    assert result.spread_over_splits(OWN) > 1e-2


def test_the_gain_is_mean_branch_loss_less_merged_loss(result: Result) -> None:
    difference = result.branch_loss - result.merged_loss - result.gain
    assert (np.abs(difference) < 1e-12 * result.branch_loss).all()
    assert (result.gain >= 0).all()


def test_from_the_optimum_joint_training_stays_and_the_gain_is_what_the_split_cost(result: Result) -> None:
    at_optimum, generic = 0, 1
    assert (result.joint_equal_steps[:, at_optimum] < 1e-20).all()
    np.testing.assert_allclose(result.gain[SHARED, at_optimum], result.branch_loss[SHARED, at_optimum], rtol=1e-10)
    assert (result.merged_loss[OWN, at_optimum] > 0).all()
    assert (result.joint_equal_steps[:, generic] > 1e-6).all()


def test_equal_tokens_let_joint_training_go_further(result: Result) -> None:
    assert (result.joint_equal_tokens[:, 1] < result.joint_equal_steps[:, 1]).all()


def test_a_larger_gain_goes_with_a_worse_merge_from_the_optimum(result: Result) -> None:
    assert result.correlation(OWN)[0].mean() > 0.3
    found = result.findings["rank correlation of gain and merged loss over all splits"]["found"]
    told = found["from the optimum, heterogeneity 1"]["30 steps"]
    assert told["mean"] == pytest.approx(result.correlation(OWN)[0, 1].mean())


def test_findings_give_the_triple_beside_joint_at_equal_steps_and_tokens(result: Result) -> None:
    losses = result.findings["losses at heterogeneity 1 from a generic start"]["found"]
    assert set(losses) == {"split of largest gain", "mean split", "joint at equal steps", "joint at equal tokens"}
    for name in ("split of largest gain", "mean split"):
        triple = losses[name]
        assert triple["mean branch loss"]["mean"] - triple["gain"]["mean"] == pytest.approx(
            triple["merged loss"]["mean"]
        )
    assert losses["split of largest gain"]["gain"]["mean"] > losses["mean split"]["gain"]["mean"]


def test_the_seed_decides_everything(result: Result) -> None:
    again, other = simulate(CONFIG), simulate(replace(CONFIG, seed=1))
    assert all(np.array_equal(getattr(again, f.name), getattr(result, f.name)) for f in fields(Result))
    assert not np.array_equal(other.gain, result.gain)


def test_a_share_beyond_one_is_refused() -> None:
    with pytest.raises(ValueError, match="heterogeneity is"):
        Config(heterogeneity=(1.5,))
