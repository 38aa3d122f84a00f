import numpy as np
import pytest
from scipy import stats

from training.statistics.variance_components import Components, Design
from training.statistics.visible_effect import detectable, visible_effect

PARTS = Components(mixture=1.0, seed=None, partition=None, task=2.0, item=8.0)


@pytest.mark.parametrize("degrees", [1, 2, 4, 11])
def test_four_in_five_t_tests_find_the_effect(degrees: int) -> None:
    rng = np.random.default_rng(degrees)
    samples = detectable(1 / (degrees + 1), degrees) + rng.normal(size=(40_000, degrees + 1))
    found = stats.ttest_1samp(samples, 0.0, axis=1).pvalue <= 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.008)


def test_it_falls_with_more_of_every_level_and_most_with_that_which_limits() -> None:
    effect = visible_effect(PARTS, Design(4, 1, 1, 4, 4))
    assert all(value < effect.value for value in effect.with_twice.values())
    assert min(effect.with_twice, key=lambda level: effect.with_twice[level]) == "mixture"
    assert "twice as many mixtures" in effect.verdict
    # Tasks and items cannot take away what mixtures bring.
    many = visible_effect(PARTS, Design(4, 1, 1, 4_000, 4_000))
    assert many.value == pytest.approx(detectable(1 / 4, 3), rel=1e-3)


def test_without_noise_everything_is_visible() -> None:
    effect = visible_effect(Components(None, None, None, 0.0, 0.0), Design(1, 1, 1, 4, 4))
    assert effect.value == 0
    assert "twice" not in effect.verdict


def test_fewer_degrees_of_freedom_need_a_larger_effect() -> None:
    values = [detectable(1.0, degrees) for degrees in (1, 1.5, 2, 5, 30, 1e5)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(stats.norm.ppf(0.975) + stats.norm.ppf(0.8), rel=1e-4)
