from dataclasses import replace

import numpy as np
import pytest

from simulations.spectral_filtering import MODELS, Config, Result, simulate

CONFIG = Config(instances=4, n_tasks=6, dimension=4, n_sharp=1, steps=(1, 8, 64))
SHARED, OWN = 0, 1
EIGENVECTORS, GRADIENTS = 0, 1
MERGED, JOINT, TOKENS, BRANCH = range(len(MODELS))
WITHIN, OUTSIDE, CROSS = range(3)


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(CONFIG)


def test_with_a_shared_hessian_the_split_leaves_no_trace_in_either_subspace(result: Result) -> None:
    difference = result.merged_minus_joint
    assert difference[SHARED] < 1e-12
    assert difference[OWN] > 1e-4


def test_what_is_left_on_the_sharpest_axis_is_the_filter_factor(result: Result) -> None:
    left = (1 - result.filter_factors[:, 0]) ** 2
    for model in (MERGED, JOINT):
        measured = (
            result.losses[SHARED, EIGENVECTORS, model, WITHIN] / result.start[SHARED, EIGENVECTORS, WITHIN][:, None]
        )
        np.testing.assert_allclose(measured, np.broadcast_to(left, measured.shape), rtol=1e-6)
    twice = (1 - result.filter_factors[:, 0]) ** 4
    tokens = result.losses[SHARED, EIGENVECTORS, TOKENS, WITHIN] / result.start[SHARED, EIGENVECTORS, WITHIN][:, None]
    np.testing.assert_allclose(tokens[:, :2], np.broadcast_to(twice[:2], tokens[:, :2].shape), rtol=1e-6)


def test_branches_stay_apart_on_the_sharp_axis(result: Result) -> None:
    assert (
        result.losses[SHARED, EIGENVECTORS, BRANCH, WITHIN] > result.losses[SHARED, EIGENVECTORS, MERGED, WITHIN]
    ).all()


def test_cross_terms_vanish_for_eigenvectors_and_not_for_gradient_axes(result: Result) -> None:
    cross = np.abs(result.losses[:, :, :, CROSS]) / result.losses[:, :, :, :CROSS].sum(axis=3)
    assert cross[:, EIGENVECTORS].max() < 1e-12
    assert cross[:, GRADIENTS].max() > 1e-2


def test_the_parts_add_up_to_one_loss_whatever_the_subspace(result: Result) -> None:
    totals = result.losses.sum(axis=3)
    np.testing.assert_allclose(totals[:, EIGENVECTORS], totals[:, GRADIENTS], rtol=1e-9)


def test_the_seed_decides_everything(result: Result) -> None:
    np.testing.assert_array_equal(simulate(CONFIG).losses, result.losses)
    assert not np.array_equal(simulate(replace(CONFIG, seed=1)).losses, result.losses)


def test_findings_speak_of_both_hessians(result: Result) -> None:
    found = result.findings["merged loss over that of joint training at equal tokens"]["found"]
    assert set(found) == {"shared Hessian", "own Hessians"}
    assert found["shared Hessian"]["64 steps"]["mean"] > 1


@pytest.mark.parametrize("wrong", [{"n_sharp": 24}, {"heterogeneity": 1.5}])
def test_impossible_sizes_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
