import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.statistics.studies import draw_study
from training.statistics.variance_components import Components, Design, measured_design, variance_components

TRUE = Components(mixture=2.0, seed=0.5, partition=1.0, task=3.0, item=8.0)


@pytest.mark.parametrize("own_items", [False, True])
def test_components_are_recovered_from_balanced_studies(own_items: bool) -> None:
    design = Design(12, 3, 3, 4, 6)
    found = [
        variance_components(draw_study(np.random.default_rng(seed), TRUE, design, own_items=own_items)).measured
        for seed in range(24)
    ]
    for level, true in TRUE.measured.items():
        values = np.array([components[level] for components in found])
        error = values.std() / np.sqrt(len(values))
        assert values.mean() == pytest.approx(true, abs=4 * error), level
        assert error < 0.25 * true, level


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_together_they_are_the_variance_between_mixtures_where_none_was_cut_off_at_zero(seed: int) -> None:
    large = Components(mixture=50.0, seed=None, partition=None, task=5.0, item=1.0)
    study = draw_study(np.random.default_rng(seed), large, Design(6, 1, 1, 3, 4))
    components = variance_components(study)
    if components.mixture == 0 or components.task == 0:
        return
    expected = study.mixture_values.var(ddof=1) / 6
    assert components.variance(measured_design(study)) == pytest.approx(expected, rel=1e-9)


def test_levels_of_one_member_are_not_measured() -> None:
    study = draw_study(np.random.default_rng(0), TRUE, Design(1, 1, 1, 4, 6))
    assert set(variance_components(study).measured) == {"task", "item"}
    study = draw_study(np.random.default_rng(0), TRUE, Design(1, 1, 3, 1, 1))
    assert set(variance_components(study).measured) == {"partition"}


def test_a_measured_design_is_the_one_drawn_and_own_items_of_runs_add_up() -> None:
    design = Design(2, 3, 2, 4, 5)
    assert measured_design(draw_study(np.random.default_rng(0), TRUE, design)) == design
    own = measured_design(draw_study(np.random.default_rng(0), TRUE, design, own_items=True))
    assert own.item == pytest.approx(15)


def test_each_level_is_divided_by_its_members_in_the_whole_study() -> None:
    parts = TRUE.contributions(Design(2, 3, 5, 7, 11))
    expected = {"mixture": 2 / 2, "seed": 0.5 / 6, "partition": 1 / 30, "task": 3 / 14, "item": 8 / 154}
    assert parts == pytest.approx(expected)
