import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import InputError
from training.merge.operators.linear import weighted_average
from training.merge.weights import check_weights, token_weights, uniform_weights


@st.composite
def branches_and_weights(draw: st.DrawFn) -> tuple[np.ndarray, tuple[float, ...]]:
    k = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([1e-3, 1.0, 1e3]))
    branches = rng.normal(size=50) + spread * rng.normal(size=(k, 50))
    return branches.astype(np.float32), token_weights(draw(st.lists(st.integers(1, 1000), min_size=k, max_size=k)))


@settings(deadline=None)
@given(branches_and_weights())
def test_the_merge_is_the_weighted_average(case: tuple[np.ndarray, tuple[float, ...]]) -> None:
    branches, weights = case
    exact = np.asarray(weights) @ branches.astype(np.float64)
    bound = (len(weights) + 2) * np.finfo(np.float32).eps * np.abs(branches).max()
    np.testing.assert_allclose(weighted_average(branches.copy(), weights), exact, rtol=0, atol=bound)


@settings(deadline=None)
@given(branches_and_weights(), st.randoms(use_true_random=False))
def test_the_order_of_branches_does_not_matter(case: tuple[np.ndarray, tuple[float, ...]], random) -> None:
    branches, weights = case
    order = random.sample(range(len(weights)), len(weights))
    shuffled = weighted_average(branches[order], [weights[k] for k in order])
    bound = 2 * (len(weights) + 2) * np.finfo(np.float32).eps * np.abs(branches).max()
    np.testing.assert_allclose(weighted_average(branches.copy(), weights), shuffled, rtol=0, atol=bound)


@settings(deadline=None)
@given(branches_and_weights())
def test_where_branches_agree_the_merge_is_their_value_exactly(case: tuple[np.ndarray, tuple[float, ...]]) -> None:
    branches, weights = case
    branches[:, ::2] = branches[0, ::2]
    common = branches[0, ::2].copy()
    np.testing.assert_array_equal(weighted_average(branches, weights)[::2], common)


def test_a_branch_of_weight_one_comes_back_bit_for_bit() -> None:
    branches = np.array([[-0.0, 1e-45, 1e30], [3.0, 1.0, 1.0]], np.float32)
    for k, weights in enumerate([(1.0, 0.0), (0.0, 1.0)]):
        assert weighted_average(branches.copy(), weights).tobytes() == branches[k].tobytes()


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=64).filter(any))
def test_token_weights_sum_to_one_in_the_proportion_of_tokens(tokens: list[int]) -> None:
    weights = token_weights(tokens)
    assert math.isclose(math.fsum(weights), 1.0, abs_tol=1e-12)
    assert all(math.isclose(weight * sum(tokens), count) for weight, count in zip(weights, tokens, strict=True))
    check_weights(weights, len(tokens))


def test_weights_that_sum_to_one_within_tolerance_are_accepted_and_others_refused() -> None:
    check_weights((0.5, 0.5 + 9e-7), 2)
    check_weights((-0.5, 1.5), 2)
    for weights in [(0.5, 0.5 + 2e-6), (0.5, 0.5 - 2e-6), (1.0, 1.0), ()]:
        with pytest.raises(InputError, match="sum to"):
            check_weights(weights, len(weights))
    for bad in (math.nan, math.inf):
        with pytest.raises(InputError, match="weight 2 is"):
            check_weights((0.5, bad), 2)


def test_token_counts_that_give_no_weights_are_refused() -> None:
    for tokens in ([], [0, 0], [3, -1]):
        with pytest.raises(InputError, match="give no weights"):
            token_weights(tokens)
    with pytest.raises(InputError, match="give no weights"):
        uniform_weights(0)
