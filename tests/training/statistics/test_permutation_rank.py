from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from training.statistics import permutation_rank as module
from training.statistics.permutation_rank import permutation_rank

RUN = st.lists(st.integers(0, 4), min_size=2, max_size=5)
RUNS = st.lists(RUN, min_size=1, max_size=4)


def enumerated(runs: list[list[int]]) -> float:
    """p-value over every choice of who is the rule in each run."""
    shares = [stats.rankdata(run) / len(run) for run in runs]
    observed = sum(share[0] for share in shares)
    return float(np.mean([sum(placed) <= observed + 1e-12 for placed in product(*shares)]))


@settings(max_examples=40)
@given(RUNS)
def test_it_is_the_enumeration_of_all_placements_ties_included(runs: list[list[int]]) -> None:
    found = permutation_rank([run[0] for run in runs], [run[1:] for run in runs], np.random.default_rng(0))
    assert found.exact
    assert found.p_value == pytest.approx(enumerated(runs))


@settings(max_examples=40)
@given(RUN)
def test_in_one_run_it_counts_the_random_arms_that_do_as_well(run: list[int]) -> None:
    found = permutation_rank([run[0]], [run[1:]], np.random.default_rng(0))
    as_good = sum(value <= run[0] for value in run[1:])
    assert found.p_value == pytest.approx((as_good + 1) / len(run))


@settings(max_examples=10)
@given(RUNS)
def test_a_rule_that_is_one_more_random_draw_is_rejected_no_more_often_than_the_level(runs: list[list[int]]) -> None:
    generator = np.random.default_rng(0)
    p_values = []
    for placed in product(*(range(len(run)) for run in runs)):
        rule = [run[place] for run, place in zip(runs, placed, strict=True)]
        others = [run[:place] + run[place + 1 :] for run, place in zip(runs, placed, strict=True)]
        p_values.append(permutation_rank(rule, others, generator).p_value)
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p_values) <= level + 1e-12) <= level + 1e-9


def test_sampled_placements_agree_with_the_computed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rule, randoms = [1.0, 2.0, 0.5], [[2.0, 3.0, 0.1], [1.0, 4.0], [0.6, 0.7, 0.8, 0.9]]
    computed = permutation_rank(rule, randoms, np.random.default_rng(0))
    monkeypatch.setattr(module, "CELLS_AT_MOST", 0)
    sampled = permutation_rank(rule, randoms, np.random.default_rng(0))
    assert (computed.exact, sampled.exact) == (True, False)
    assert sampled.p_value == pytest.approx(computed.p_value, abs=0.006)


def test_too_few_random_partitions_are_said_to_be_too_few() -> None:
    alone = permutation_rank([0.0], [[1.0] * 18], np.random.default_rng(0))
    assert alone.smallest_reachable == pytest.approx(1 / 19)
    assert "cannot be told" in alone.verdict
    enough = permutation_rank([0.0], [list(range(1, 20))], np.random.default_rng(0))
    assert enough.p_value == pytest.approx(1 / 20)
    assert "is better" in enough.verdict
    assert permutation_rank(
        [0.0, 0.0], [[1.0, 2.0], [1.0]], np.random.default_rng(0)
    ).smallest_reachable == pytest.approx(1 / 6)
