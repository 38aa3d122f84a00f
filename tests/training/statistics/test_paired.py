import numpy as np
import pytest

from training.statistics.levels import Counts
from training.statistics.paired import PairedRun, group_by_tasks


def run_of(rng: np.random.Generator, tasks: int, pairs: int, per_task: int = 3) -> PairedRun:
    task = rng.permutation(np.repeat(np.arange(tasks), per_task))
    return PairedRun("run", task, rng.integers(1, 9, len(task)).astype(float), rng.normal(size=(len(task), pairs)))


def test_a_cell_is_the_tasks_sum_over_its_weight_and_the_value_weighs_tasks_runs_and_mixtures_alike() -> None:
    rng = np.random.default_rng(0)
    one, two, other = run_of(rng, 3, 2), run_of(rng, 3, 1), run_of(rng, 2, 1, per_task=9)
    expected = one.differences[one.task == 1, 0].sum() / one.weights[one.task == 1].sum()
    assert one.cells[0, 1] == pytest.approx(expected, rel=1e-12)
    study = group_by_tasks([(("a", "b", "c"), one), (("a", "b", "c"), two), (("a", "d"), other)], partitioned=False)
    expected = ((one.cells.mean() + two.cells.mean()) / 2 + other.cells.mean()) / 2
    assert study.value == pytest.approx(expected, rel=1e-12)
    assert study.counts == Counts(mixture=2, seed=3, partition=None, task=5, item=9 + 9 + 18)


def test_runs_over_the_same_tasks_in_another_order_are_seeds_of_one_mixture() -> None:
    rng = np.random.default_rng(0)
    one = run_of(rng, 3, 1)
    moved = PairedRun("run", np.array([2, 0, 1])[one.task], one.weights, one.differences)
    study = group_by_tasks([(("a", "b", "c"), one), (("b", "c", "a"), moved)], partitioned=False)
    (mixture,) = study.mixtures
    assert mixture.shares_items
    np.testing.assert_array_equal(mixture.runs[0].cells, mixture.runs[1].cells)
    assert study.counts.item == 9


def test_items_of_other_lengths_are_other_items() -> None:
    rng = np.random.default_rng(0)
    study = group_by_tasks([(("a", "b"), run_of(rng, 2, 1)) for _ in range(2)], partitioned=False)
    assert not study.mixtures[0].shares_items
    assert study.counts.item == 12


def test_what_was_not_varied_is_named_and_what_lies_below_something_varied_is_covered() -> None:
    assert (
        Counts(1, 1, 1, 8, 128).scope
        == "over 8 tasks and 128 items; says nothing of other mixtures, seeds or partitions"
    )
    assert Counts(1, 5, None, 1, 16).covered == ("seed", "item")
    assert Counts(1, 1, None, 1, 1).covered == ()
    assert Counts(4, 4, 4, 4, 4).silent == ()
    assert Counts(4, 4, 4, 4, 4).resampled == ("mixture",)
