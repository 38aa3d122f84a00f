from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.items import Items
from training.evaluation.noise import Interval, MacroLosses

TASKS, PER_TASK = 4, 40
RATES = np.array([0.5, 1.0, 2.0, 8.0])


def draw_items(rng: np.random.Generator, per_task: int = PER_TASK, offset: float = 0.0) -> Items:
    """Items of four tasks and an unseen one; the mean loss per token is the task's rate + offset."""
    task = np.repeat(np.arange(TASKS + 1), per_task)
    tokens = rng.integers(1, 6, len(task))
    rates = np.append(RATES, 100.0)[task] + offset
    return Items(
        tasks=tuple("abcdu"),
        outside=np.arange(TASKS + 1) == TASKS,
        task=task,
        loss=rng.gamma(2.0, rates / 2, len(task)) * tokens,
        tokens=tokens,
        correct=np.zeros_like(tokens),
        match=np.full(len(task), -1, np.int8),
    )


def covered(per_task: int, repeats: int = 400) -> float:
    hits = 0
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        interval = MacroLosses([draw_items(rng, per_task)], 200, rng).of(0)
        hits += interval.low <= RATES.mean() <= interval.high
    return hits / repeats


def test_the_interval_covers_the_true_loss_as_often_as_it_says_and_few_items_are_where_it_does_not() -> None:
    # 400 draws: one standard error is 0.011 at 0.95; the percentile bootstrap is a little narrow at 40 items a task.
    assert 0.90 <= covered(40) <= 0.98
    assert covered(4) < 0.90


def test_the_interval_of_a_difference_is_of_pairs_and_so_narrower_than_that_of_the_losses() -> None:
    rng = np.random.default_rng(0)
    one = draw_items(rng)
    other = replace(one, loss=one.loss + 0.05 * one.tokens)
    losses = MacroLosses([one, other], 500, rng)
    difference = losses.difference(1, 0)
    assert difference.value == pytest.approx(0.05)
    assert difference.low == pytest.approx(0.05)
    assert difference.high == pytest.approx(0.05)
    assert difference.separates_from_zero
    assert not losses.difference(0, 0).separates_from_zero
    assert losses.of(0).high - losses.of(0).low > 0.5


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_differences_of_identical_models_are_zero_and_differences_are_antisymmetric(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = draw_items(rng), draw_items(rng)
    other = replace(other, tokens=one.tokens)
    losses = MacroLosses([one, replace(one), other], 50, rng)
    assert losses.difference(0, 1) == Interval(0.0, 0.0, 0.0)
    forth, back = losses.difference(0, 2), losses.difference(2, 0)
    assert forth.value == -back.value
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), rel=1e-12)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_the_value_is_the_mean_over_the_mixtures_tasks_and_unseen_tasks_change_nothing(seed: int) -> None:
    items = draw_items(np.random.default_rng(seed))
    values = [items.loss[items.task == task].sum() / items.tokens[items.task == task].sum() for task in range(TASKS)]
    interval = MacroLosses([items], 50, np.random.default_rng(1)).of(0)
    assert interval.value == pytest.approx(np.mean(values), rel=1e-12)
    elsewhere = replace(items, loss=np.where(items.task == TASKS, 7 * items.loss, items.loss))
    assert MacroLosses([elsewhere], 50, np.random.default_rng(1)).of(0) == interval
    assert interval.low <= interval.value <= interval.high


def test_a_task_of_one_item_has_no_noise_of_its_own() -> None:
    items = draw_items(np.random.default_rng(0), per_task=1)
    interval = MacroLosses([items], 50, np.random.default_rng(1)).of(0)
    assert interval.low == pytest.approx(interval.high) == pytest.approx(interval.value)


@pytest.mark.parametrize(
    ("low", "high", "separates"), [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False), (0.0, 0.1, False)]
)
def test_an_interval_separates_from_zero_only_when_zero_is_outside(low: float, high: float, separates: bool) -> None:
    assert Interval((low + high) / 2, low, high).separates_from_zero == separates


def test_models_on_other_items_are_not_compared() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(AssertionError, match="other items"):
        MacroLosses([draw_items(rng), draw_items(rng, per_task=41)], 10, rng)
