from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from training.statistics.signed_rank import signed_rank


def enumerated(values: list[float]) -> float:
    """One-sided p-value over all sign patterns, zeros ranked and then left without a sign."""
    array = np.array(values)
    ranks = np.where(array == 0, 0.0, stats.rankdata(np.abs(array)))
    observed = ranks[array > 0].sum()
    sums = [np.dot(ranks, pattern) for pattern in product((0, 1), repeat=len(values))]
    return float(np.mean([total <= observed + 1e-9 for total in sums]))


@settings(max_examples=60)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8))
def test_with_ties_and_zeros_it_is_the_enumeration_of_all_signs(values: list[int]) -> None:
    found = signed_rank(values)
    assert found.p_value == pytest.approx(enumerated([float(value) for value in values]))
    assert found.smallest_reachable <= found.p_value + 1e-12


def test_without_them_it_is_scipys_exact_test() -> None:
    values = np.random.default_rng(0).normal(-0.3, 1.0, 20)
    found = signed_rank(values)
    assert found.p_value == stats.wilcoxon(values, alternative="less", method="exact").pvalue


def test_five_seeds_that_agree_reach_the_papers_p_and_no_less() -> None:
    found = signed_rank([-1.3, -0.2, -0.5, -0.9, -2.0])
    assert found.p_value == found.smallest_reachable == 0.03125
    assert "The arm is better" in found.verdict
    assert signed_rank([1.3, 0.2, 0.5, 0.9, 2.0]).p_value == 1.0


def test_many_tied_differences_are_as_exact() -> None:
    values = np.repeat([-1.0, 0.0, 1.0, -2.0], 4)[:14]
    found = signed_rank(values)
    assert (found.tied, found.zeros, found.negative) == (True, 4, 6)
    assert found.p_value == pytest.approx(enumerated(values.tolist()))


def test_runs_that_do_not_differ_are_no_evidence() -> None:
    found = signed_rank(np.zeros(6))
    assert found.p_value == 1.0
    assert found.zeros == 6
