import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.training.statistics.studies import draw_study, study_of
from training.statistics.student import student_estimate
from training.statistics.variance_components import Components, Design

ALL = Components(1.0, 0.5, 0.5, 1.0, 4.0)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 5, 9]))
def test_with_several_mixtures_it_is_the_t_test_of_their_means(seed: int, mixtures: int) -> None:
    study = draw_study(np.random.default_rng(seed), ALL, Design(mixtures, 2, 1, 3, 4))
    found = student_estimate(study)
    assert found is not None
    oracle = stats.ttest_1samp(study.mixture_values, 0.0)
    assert found.p_value == pytest.approx(oracle.pvalue, rel=1e-9)
    ends = oracle.confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((ends.low, ends.high), rel=1e-9)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_units_and_tasks_that_add_up_without_interaction_add_their_variances(seed: int) -> None:
    rng = np.random.default_rng(seed)
    units, tasks = rng.normal(size=4), rng.normal(size=7)
    found = student_estimate(study_of(units[:, None] + tasks))
    assert found is not None
    assert found.standard_error**2 == pytest.approx(units.var(ddof=1) / 4 + tasks.var(ddof=1) / 7, rel=1e-9)


def test_the_variance_is_unbiased_where_seeds_act_on_each_task_in_another_way() -> None:
    rng = np.random.default_rng(0)
    squares = []
    for _ in range(1500):
        cells = 2 * rng.normal(size=(4, 1)) + 2 * rng.normal(size=5) + 2 * rng.normal(size=(4, 5))
        found = student_estimate(study_of(cells))
        assert found is not None
        squares.append(found.standard_error**2)
    expected = 4 / 4 + 4 / 5 + 4 / 20
    # The floor at the larger of the two mean squares adds a little.
    assert expected * 0.97 <= np.mean(squares) <= expected * 1.05


def test_seeds_that_agree_are_no_more_evidence_than_one() -> None:
    tasks = np.random.default_rng(0).normal(size=6)
    alone, repeated = (student_estimate(study_of(np.tile(tasks, (seeds, 1)))) for seeds in (1, 4))
    assert alone is not None
    assert repeated is not None
    assert repeated.standard_error == pytest.approx(alone.standard_error, rel=1e-9)
    assert repeated.degrees == pytest.approx(alone.degrees) == 5


@pytest.mark.parametrize(("cells", "degrees"), [(np.eye(3) * 9, 2), (np.eye(3)[:, [0, 1, 2, 2]], None)])
def test_interaction_alone_never_makes_the_variance_less_than_either_factors(cells: np.ndarray, degrees: int) -> None:
    found = student_estimate(study_of(cells))
    assert found is not None
    one = max(cells.mean(axis=1).var(ddof=1) / len(cells), cells.mean(axis=0).var(ddof=1) / cells.shape[1])
    assert found.standard_error**2 >= one - 1e-12
    assert degrees is None or found.degrees == degrees


def test_where_only_items_vary_there_is_none_and_arms_that_agree_have_no_p_value_to_speak_of() -> None:
    assert student_estimate(study_of(np.array([[1.0]]))) is None
    same = student_estimate(study_of(np.zeros((3, 4))))
    assert same is not None
    assert same.p_value == 1.0
    assert (same.interval.low, same.interval.high) == (0.0, 0.0)
