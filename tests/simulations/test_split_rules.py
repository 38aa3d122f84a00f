from dataclasses import fields, replace

import numpy as np
import pytest

from merit_theory.hessian import DiagonalHessian
from merit_theory.partition import balanced_splits
from merit_theory.split_gain import signed_form, task_matrix
from simulations import split_rules
from simulations.gradient_ensembles import ENSEMBLES, draw_gradients
from simulations.split_rules import Config, Result, simulate

CONFIG = Config(task_numbers=(6, 8), decays=(1.0,), dimension=8, instances=8)


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(CONFIG)


def of(result: Result, rule: str) -> np.ndarray:
    return result.ratios[..., result.rules.tolist().index(rule)]


def test_no_rule_and_no_chance_beats_the_optimum(result: Result) -> None:
    assert (result.ratios <= 1 + 1e-12).all()
    assert (result.random_mean < 1).all()
    assert np.isclose(result.ratios, 1).any()


def test_the_optimum_is_that_of_all_splits_counted_one_by_one() -> None:
    tiny = replace(CONFIG, task_numbers=(6,), instances=2)
    result = simulate(tiny)
    rng = np.random.default_rng(tiny.seed).spawn(2 * len(ENSEMBLES))[0]
    curvatures = 1 / np.arange(1.0, 9.0)
    matrix = task_matrix(draw_gradients(ENSEMBLES[0], rng, 6, curvatures), DiagonalHessian(curvatures))
    values = [signed_form(matrix, 1.0 - 2.0 * split.labels).item() for split in balanced_splits(6)]
    assert result.random_mean[0, 0, 0, 0] == pytest.approx(np.mean(values) / max(values))
    reached = result.ratios[0, 0, 0, 0] * max(values)
    assert all(np.isclose(value, values).any() for value in reached)


def test_swaps_on_the_task_matrix_never_lower_the_gain_and_those_on_the_cosine_matrix_do(result: Result) -> None:
    for centre in split_rules.CENTRINGS:
        rule = f"task matrix, centring {centre}"
        assert (of(result, f"{rule}, swap on task matrix") >= of(result, rule) - 1e-12).all()
    lowered = of(result, "cosine, centring double, swap on cosine") < of(result, "cosine, centring double") - 1e-9
    assert lowered.any()


def test_centring_matters_where_a_mean_is_shared_and_only_there(result: Result) -> None:
    loss = (of(result, "cosine, centring double") - of(result, "cosine, centring none")).mean(axis=(0, 2, 3))
    shared = np.array([name.startswith("shared mean") for name in ENSEMBLES])
    assert loss[shared].min() > 0.2 > np.abs(loss[~shared]).max()


def test_findings_name_every_ensemble_with_interval_quantile_and_count(result: Result) -> None:
    told = result.findings["split along the axis of cosine, centring double"]["found"]
    assert set(told) == set(ENSEMBLES)
    cell = of(result, "cosine, centring double")[0, 0, -1]
    assert told["independent"]["share of the optimum"]["mean"] == pytest.approx(cell.mean())
    assert told["independent"]["its 5 % quantile"] == pytest.approx(np.quantile(cell, 0.05))
    worse = (cell < result.random_mean[0, 0, -1]).mean()
    assert told["independent"]["worse than the random mean"]["mean"] == pytest.approx(worse)


def test_the_seed_decides_everything(result: Result) -> None:
    again, other = simulate(CONFIG), simulate(replace(CONFIG, seed=1))
    assert all(np.array_equal(getattr(again, f.name), getattr(result, f.name)) for f in fields(Result))
    assert not np.array_equal(other.ratios, result.ratios)


def test_too_many_tasks_to_list_all_splits_are_refused() -> None:
    with pytest.raises(ValueError, match="from 4 to 16"):
        Config(task_numbers=(18,))
