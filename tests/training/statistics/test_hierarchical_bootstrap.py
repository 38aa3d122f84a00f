from itertools import product

import numpy as np
import pytest
from scipy import stats

from tests.training.statistics.studies import draw_study, study_of
from training.statistics import hierarchical_bootstrap
from training.statistics.hierarchical_bootstrap import bootstrap
from training.statistics.paired import PairedMixture, PairedRun, PairedStudy
from training.statistics.variance_components import Components, Design

DRAWS = 40_000


def test_one_task_of_one_run_is_scipys_bootstrap_of_the_items_mean() -> None:
    rng = np.random.default_rng(0)
    values = rng.gamma(1.0, size=30)
    run = PairedRun("run", np.zeros(30, int), np.ones(30), values[:, None])
    ours = bootstrap(PairedStudy((PairedMixture(("a",), (run,)),)), DRAWS, rng)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=DRAWS, rng=rng).bootstrap_distribution
    levels = [0.025, 0.25, 0.5, 0.75, 0.975]
    np.testing.assert_allclose(np.quantile(ours, levels), np.quantile(theirs, levels), atol=0.015)


def test_draws_fall_as_often_as_enumeration_says() -> None:
    # Two mixtures of one task, of two items with other weights: each copy of a mixture draws items of its own.
    weights, values = np.array([[1.0, 2.0], [1.0, 4.0]]), np.array([[0.3, 1.0], [5.0, -2.0]])
    mixtures = tuple(
        PairedMixture((f"t{number}",), (PairedRun("run", np.zeros(2, int), weights[number], values[number][:, None]),))
        for number in range(2)
    )
    expected: dict[float, float] = {}
    for picked in product(range(2), repeat=2):
        for items in product(product(range(2), repeat=2), repeat=2):
            ratios = [values[m, list(i)].sum() / weights[m, list(i)].sum() for m, i in zip(picked, items, strict=True)]
            key = round(float(np.mean(ratios)), 9)
            expected[key] = expected.get(key, 0.0) + 4.0**-1 * 4.0**-2
    drawn, counts = np.unique(
        bootstrap(PairedStudy(mixtures), DRAWS, np.random.default_rng(1)).round(9), return_counts=True
    )
    assert drawn.tolist() == pytest.approx(sorted(expected))
    shares = np.array([expected[key] for key in sorted(expected)])
    assert stats.chisquare(counts, shares * DRAWS).pvalue > 1e-3


def test_the_variance_over_draws_is_that_of_a_balanced_nested_design() -> None:
    study = draw_study(np.random.default_rng(2), Components(1.0, None, None, 2.0, 9.0), Design(4, 1, 1, 3, 6))
    cells = np.stack([mixture.runs[0].differences.reshape(3, 6) for mixture in study.mixtures])
    tasks = cells.mean(axis=2)
    within = (tasks.var(axis=1) / 3 + cells.var(axis=2).mean(axis=1) / (3 * 6)).mean()
    expected = (tasks.mean(axis=1).var() + within) / 4
    assert bootstrap(study, DRAWS, np.random.default_rng(3)).var() == pytest.approx(expected, rel=0.04)


def test_seeds_and_tasks_are_crossed_and_not_nested() -> None:
    cells = np.random.default_rng(4).normal(size=(3, 1)) + 2 * np.random.default_rng(5).normal(size=(3, 5)) ** 2
    cells += 3 * np.arange(5)
    rest = cells - cells.mean(axis=1, keepdims=True) - cells.mean(axis=0) + cells.mean()
    expected = cells.mean(axis=1).var() / 3 + cells.mean(axis=0).var() / 5 + rest.var() / 15
    assert bootstrap(study_of(cells), DRAWS, np.random.default_rng(6)).var() == pytest.approx(expected, rel=0.04)


def test_partitions_are_drawn_within_their_seed() -> None:
    values = (np.array([0.0, 1.0, 5.0]), np.array([10.0, 12.0]))
    runs = tuple(PairedRun("run", np.zeros(1, int), np.ones(1), value[None, :]) for value in values)
    study = PairedStudy((PairedMixture(("a",), runs),), partitioned=True)
    drawn = bootstrap(study, DRAWS, np.random.default_rng(7))
    within = np.mean([value.var() / len(value) for value in values])
    expected = (np.var([value.mean() for value in values]) + within) / 2
    assert drawn.var() == pytest.approx(expected, rel=0.04)
    assert study.value == pytest.approx(6.5)


def test_items_that_runs_share_are_drawn_once_for_all() -> None:
    # The noise of the two runs cancels item by item, and so it does in every draw that holds both: half of them.
    noise = np.random.default_rng(8).normal(size=20)
    runs = tuple(PairedRun("run", np.zeros(20, int), np.ones(20), sign * noise[:, None]) for sign in (1, -1))
    drawn = bootstrap(PairedStudy((PairedMixture(("a",), runs),)), 2000, np.random.default_rng(9))
    assert np.isclose(drawn, 0).mean() == pytest.approx(0.5, abs=0.06)
    assert np.abs(drawn).max() > 0.1


def test_how_much_is_held_at_once_changes_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    study = draw_study(np.random.default_rng(10), Components(1.0, 1.0, 1.0, 1.0, 1.0), Design(2, 2, 2, 3, 5))
    whole = bootstrap(study, 50, np.random.default_rng(11))
    monkeypatch.setattr(hierarchical_bootstrap, "ENTRIES_AT_ONCE", 12)
    np.testing.assert_allclose(bootstrap(study, 50, np.random.default_rng(11)), whole, rtol=1e-12)


def test_a_study_in_which_nothing_varies_has_one_value() -> None:
    drawn = bootstrap(study_of(np.array([[0.7]])), 100, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, 0.7)
