"""Chance: ranks are uniform when the observed value is a draw, and random vectors have their exact law."""

import math

import numpy as np
import pytest
from scipy import stats

from diagnostics.alignment_nulls import (
    Chance,
    permuted_coefficients,
    quantile_rank,
    random_coefficients,
    random_vector_cosine,
)


@pytest.mark.parametrize(("dimension", "subspace"), [(2, 1), (5, 3), (72, 4), (20_000, 10), (20_002, 10)])
def test_a_random_vector_has_the_cosine_of_the_beta_distribution(dimension: int, subspace: int) -> None:
    share = stats.beta(subspace / 2, (dimension - subspace) / 2)
    mean = share.expect(np.sqrt, epsabs=1e-12, epsrel=1e-10)
    found = random_vector_cosine(dimension, subspace)
    assert found[0] == pytest.approx(mean, rel=1e-6)
    assert found[1] == pytest.approx(math.sqrt(share.mean() - mean**2), rel=1e-3)


def test_a_random_vector_of_a_models_size_has_the_limit_of_many_dimensions() -> None:
    dimension = 3 * 10**9
    mean, deviation = random_vector_cosine(dimension, 10)
    assert mean * math.sqrt(dimension) == pytest.approx(stats.chi(10).mean(), rel=1e-6)
    assert deviation * math.sqrt(dimension) == pytest.approx(stats.chi(10).std(), rel=1e-4)
    # One vector beside another: half-normal.
    mean, deviation = random_vector_cosine(dimension, 1)
    assert mean * math.sqrt(dimension) == pytest.approx(math.sqrt(2 / math.pi), rel=1e-6)


def test_random_coefficients_are_orthonormal_and_uniform() -> None:
    drawn = random_coefficients(5, 3, "none", 4000, np.random.default_rng(0))
    np.testing.assert_allclose(drawn @ np.swapaxes(drawn, 1, 2), np.broadcast_to(np.eye(3), (4000, 3, 3)), atol=1e-12)
    squares = (drawn**2).mean(axis=0)
    np.testing.assert_allclose(squares, 1 / 5, atol=0.015)
    signs = np.sign(drawn[:, 0, 0])
    assert np.abs((drawn[:, 0] * signs[:, None])[:, 1:].mean(axis=0)).max() < 0.03


def test_centred_random_coefficients_have_sum_zero() -> None:
    drawn = random_coefficients(4, 3, "double", 50, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.sum(axis=2), 0, atol=1e-12)
    np.testing.assert_allclose(drawn @ np.swapaxes(drawn, 1, 2), np.broadcast_to(np.eye(3), (50, 3, 3)), atol=1e-12)


def test_a_permutation_gives_all_directions_the_same_new_roles() -> None:
    coefficients = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    drawn = permuted_coefficients(coefficients, 600, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn[:, 1], 10 * drawn[:, 0])
    orders, counts = np.unique(drawn[:, 0], axis=0, return_counts=True)
    assert len(orders) == 6
    assert counts.min() > 60


def test_the_rank_of_one_of_the_draws_is_uniform() -> None:
    rng = np.random.default_rng(0)
    ranks = [quantile_rank(draws[0], draws[1:]) for draws in rng.normal(size=(2000, 100))]
    assert stats.kstest(ranks, "uniform").pvalue > 0.01


def test_what_cannot_differ_ranks_in_the_middle_whatever_rounding_does() -> None:
    assert quantile_rank(0.3, np.full(999, 0.3) * (1 + 1e-14)) == 0.5


def test_chance_says_on_which_side_of_it_a_value_lies() -> None:
    null = np.linspace(0, 1, 1001)
    inside, above, below = (Chance.of(value, null) for value in (0.5, 0.99, 0.01))
    assert (inside.low, inside.median, inside.high) == pytest.approx((0.025, 0.5, 0.975))
    assert (inside.verdict, above.verdict, below.verdict) == ("within", "above", "below")
    assert above.rank == pytest.approx(0.99, abs=2e-3)
