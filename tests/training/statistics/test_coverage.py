"""How often 95 % intervals hold the true difference: the figures that ``training.statistics.student`` quotes."""

import numpy as np
import pytest

from tests.training.statistics.studies import draw_study
from training.statistics.hierarchical_bootstrap import bootstrap
from training.statistics.student import student_estimate
from training.statistics.variance_components import Components, Design
from training.statistics.visible_effect import visible_effect

STUDIES = 600
MIXTURES_DIFFER = Components(mixture=1.0, seed=None, partition=None, task=0.1, item=1.0)
ITEMS_DIFFER = Components(mixture=0.0, seed=None, partition=None, task=0.0, item=1.0)
SEEDS_AND_TASKS_DIFFER = Components(mixture=None, seed=1.0, partition=None, task=8.0, item=4.0)
ONLY_TASKS_DIFFER = Components(mixture=None, seed=None, partition=None, task=1.0, item=4.0)


def covered(components: Components, design: Design, studies: int, draws: int = 400) -> tuple[float, float]:
    """Share of studies whose bootstrap, and whose Student's, interval holds zero."""
    hits = np.zeros(2)
    for number in range(studies):
        rng = np.random.default_rng(number)
        study = draw_study(rng, components, design)
        low, high = np.quantile(bootstrap(study, draws, rng), [0.025, 0.975])
        estimate = student_estimate(study)
        assert estimate is not None
        student = estimate.interval
        hits += (low <= 0 <= high, student.low <= 0 <= student.high)
    return tuple(hits / studies)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("components", "design", "least", "most"),
    [
        (MIXTURES_DIFFER, Design(2, 1, 1, 5, 20), 0.60, 0.72),
        (MIXTURES_DIFFER, Design(5, 1, 1, 5, 20), 0.80, 0.88),
        (MIXTURES_DIFFER, Design(8, 1, 1, 5, 20), 0.85, 0.92),
        (ITEMS_DIFFER, Design(5, 1, 1, 5, 20), 0.98, 1.0),
        (SEEDS_AND_TASKS_DIFFER, Design(1, 5, 1, 8, 10), 0.85, 0.95),
        (ONLY_TASKS_DIFFER, Design(1, 1, 1, 8, 10), 0.85, 0.95),
    ],
)
def test_few_clusters_make_the_bootstrap_miss_and_not_students_interval(
    components: Components, design: Design, least: float, most: float
) -> None:
    by_bootstrap, by_student = covered(components, design, STUDIES)
    assert least <= by_bootstrap <= most
    assert 0.92 <= by_student <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("design", [Design(5, 1, 1, 5, 20), Design(1, 5, 1, 8, 10), Design(1, 1, 1, 8, 10)])
def test_the_visible_effect_is_found_four_times_in_five(design: Design) -> None:
    components = (
        MIXTURES_DIFFER if design.mixture > 1 else SEEDS_AND_TASKS_DIFFER if design.seed > 1 else ONLY_TASKS_DIFFER
    )
    effect = visible_effect(components, design).value
    found = 0
    for number in range(STUDIES):
        estimate = student_estimate(draw_study(np.random.default_rng(number), components, design, mean=effect))
        found += estimate is not None and estimate.p_value <= 0.05
    assert found / STUDIES == pytest.approx(0.8, abs=0.05)
