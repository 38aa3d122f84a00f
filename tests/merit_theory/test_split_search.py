"""Enumerated and random balanced splits against `partition.balanced_splits` and NumPy."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from merit_theory.partition import Partition, balanced_splits, between_group_objective
from merit_theory.split_gain import expected_random_form
from merit_theory.split_search import (
    balanced_signs,
    count_balanced_splits,
    random_balanced_signs,
    signed_forms,
    survey_balanced_splits,
    survey_random_splits,
)

Floats = NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)


def task_matrix(n_tasks: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    gradients = rng.standard_t(2, (n_tasks, 6)) + 4 * rng.standard_normal(6)
    return gradients @ gradients.T


@pytest.mark.parametrize("n_tasks", [2, 4, 8])
def test_ranks_run_through_the_balanced_splits_in_their_order(n_tasks: int) -> None:
    expected = [(1 - 2 * split.labels).tolist() for split in balanced_splits(n_tasks)]
    assert count_balanced_splits(n_tasks) == len(expected)
    assert balanced_signs(jnp.arange(len(expected)), n_tasks).tolist() == expected


def test_first_and_last_rank_of_the_largest_number_of_tasks() -> None:
    last = count_balanced_splits(66) - 1
    signs = np.asarray(balanced_signs(jnp.array([0, last]), 66))
    assert signs[0].tolist() == [1] * 33 + [-1] * 33
    assert signs[1].tolist() == [1] + [-1] * 33 + [1] * 32


@settings(max_examples=40)
@given(st.sampled_from([(8, 10), (8, 35), (10, 100)]), seeds)
def test_survey_agrees_with_looking_at_every_split(shape: tuple[int, int], seed: int) -> None:
    n_tasks, chunk = shape
    matrix = task_matrix(n_tasks, seed)
    splits = list(balanced_splits(n_tasks))
    objective = [n_tasks * between_group_objective(split, matrix) for split in splits]
    forms = np.array(objective) - matrix.sum()
    survey = survey_balanced_splits(matrix, chunk)
    rounding = 1e-12 * n_tasks * np.abs(matrix).max() * n_tasks
    assert survey.n_splits == len(splits) == survey.counts.sum()
    assert survey.mean == pytest.approx(forms.mean(), rel=0, abs=rounding)
    assert survey.largest == pytest.approx(forms.max(), rel=0, abs=rounding)
    assert survey.smallest == pytest.approx(forms.min(), rel=0, abs=rounding)
    assert forms[splits.index(survey.best)] == pytest.approx(forms.max(), rel=0, abs=rounding)
    assert forms[splits.index(survey.worst)] == pytest.approx(forms.min(), rel=0, abs=rounding)
    width = survey.edges[1] - survey.edges[0]
    for share in (0.0, 0.05, 0.5, 0.95, 1.0):
        exact = np.quantile(forms, share, method="inverted_cdf")
        assert survey.quantile(share) == pytest.approx(exact, rel=0, abs=0.51 * width + rounding)


def test_survey_does_not_depend_on_the_chunk() -> None:
    matrix = task_matrix(10, 3)
    whole, pieces = survey_balanced_splits(matrix, 126), survey_balanced_splits(matrix, 17)
    assert (whole.best, whole.worst) == (pieces.best, pieces.worst)
    assert whole.mean == pytest.approx(pieces.mean, rel=1e-13)
    assert (whole.counts == pieces.counts).all()


def test_mean_over_ninety_two_thousand_splits_is_the_expectation() -> None:
    matrix = task_matrix(20, 5)
    survey = survey_balanced_splits(matrix)
    assert survey.n_splits == 92_378
    assert survey.mean == pytest.approx(expected_random_form(matrix).item(), rel=1e-12)


def test_splits_of_equal_value_fall_into_one_bin_and_the_first_is_named() -> None:
    isotropic = survey_balanced_splits(np.eye(6))
    assert np.count_nonzero(isotropic.counts) == 1
    assert isotropic.quantile(0.5) == pytest.approx(6, rel=1e-12)
    nothing = survey_balanced_splits(np.ones((4, 4)))
    assert (nothing.largest, nothing.smallest, nothing.quantile(0.3)) == (0, 0, 0)
    assert nothing.best == nothing.worst == Partition(((0, 1), (2, 3)))


@pytest.mark.parametrize("n_tasks", [2, 6, 136])
def test_random_splits_are_balanced_with_task_0_first(n_tasks: int) -> None:
    signs = np.asarray(random_balanced_signs(jax.random.key(1), 500, n_tasks))
    assert (np.abs(signs) == 1).all()
    assert (signs.sum(axis=1) == 0).all()
    assert (signs[:, 0] == 1).all()


def test_random_splits_are_equally_likely() -> None:
    signs = np.asarray(random_balanced_signs(jax.random.key(2), 35_000, 8))
    seen = Counter(map(tuple, signs.tolist()))
    assert len(seen) == 35
    deviations = (np.array(list(seen.values())) - 1000) / 1000**0.5
    # Chi-square with 34 degrees of freedom: mean 34, standard deviation 8.2.
    assert 10 < (deviations**2).sum() < 34 + 5 * 8.2


def test_random_survey_estimates_the_mean_of_all_splits_and_the_last_chunk_counts_in_part() -> None:
    matrix = task_matrix(12, 7)
    every = survey_balanced_splits(matrix)
    drawn = survey_random_splits(matrix, 20_001, jax.random.key(3), chunk=8_000)
    forms = np.asarray(signed_forms(jnp.asarray(matrix), balanced_signs(jnp.arange(462), 12)))
    assert drawn.n_splits == drawn.counts.sum() == 20_001
    assert abs(drawn.mean - every.mean) < 5 * forms.std() / 20_001**0.5
    assert drawn.largest == pytest.approx(every.largest, rel=1e-12)
    assert drawn.best == every.best
    assert (drawn.smallest, drawn.worst) == (pytest.approx(every.smallest, rel=1e-9, abs=1e-9), every.worst)


def test_random_survey_draws_new_splits_in_every_chunk() -> None:
    """136 tasks have 10³⁹ splits: two chunks that used one key would repeat their extremes and mean."""
    matrix = task_matrix(136, 8)
    once = survey_random_splits(matrix, 2_000, jax.random.key(4), chunk=2_000)
    twice = survey_random_splits(matrix, 4_000, jax.random.key(4), chunk=2_000)
    assert once.mean != twice.mean
    assert (twice.counts != 2 * once.counts).any()


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: count_balanced_splits(5), "5 tasks have no balanced split"),
        (lambda: balanced_signs(jnp.arange(2), 68), "68 tasks have more balanced splits"),
        (lambda: random_balanced_signs(jax.random.key(0), 3, 7), "7 tasks have no balanced split"),
        (lambda: survey_balanced_splits(np.eye(3)), "3 tasks have no balanced split"),
        (lambda: survey_balanced_splits(np.eye(4), 0), "chunk is 0"),
        (lambda: survey_random_splits(np.eye(4), 0, jax.random.key(0)), "0 splits asked for"),
        (lambda: survey_random_splits(np.eye(5), 9, jax.random.key(0)), "5 tasks have no balanced split"),
        (lambda: survey_balanced_splits(np.triu(np.ones((4, 4)))), "not symmetric"),
        (lambda: survey_balanced_splits(np.eye(4)).quantile(1.5), "share is 1.5"),
    ],
)
def test_what_has_no_balanced_split_is_refused(call, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        call()
