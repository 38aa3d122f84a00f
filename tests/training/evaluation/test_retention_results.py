from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import EvaluationSettings
from training.evaluation.noise import LEVEL
from training.evaluation.retention_reference import ReferenceAnswer, freeze_reference
from training.evaluation.retention_results import RetentionDraws, RetentionItems, summarise_retention
from training.keyed_file import save_keyed
from training.run_directory import RunDirectory

DRAWS = 300


def make_items(seed: int, prompts: int, level: float = 1.0) -> RetentionItems:
    rng = np.random.default_rng(seed)
    tokens = np.random.default_rng(prompts).integers(1, 60, prompts)
    return RetentionItems(
        loss=level * rng.gamma(2.0, size=prompts) * tokens,
        divergence=level * rng.gamma(1.0, size=prompts) * tokens,
        tokens=tokens,
        length=rng.integers(0, 60, prompts),
        ended=rng.random(prompts) < 0.5,
    )


def draws_of(*models: RetentionItems) -> RetentionDraws:
    return RetentionDraws(models, DRAWS, np.random.default_rng(0))


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 8, 32]))
def test_values_are_sums_before_they_are_divided_and_lie_among_their_draws(seed: int, prompts: int) -> None:
    items = make_items(seed, prompts)
    measured = draws_of(items).of(0)
    total = sum(items.tokens.tolist())
    assert measured.loss.value == pytest.approx(sum(items.loss.tolist()) / total, rel=1e-12)
    assert measured.divergence.value == pytest.approx(sum(items.divergence.tolist()) / total, rel=1e-12)
    assert measured.length.value == pytest.approx(sum(items.length.tolist()) / prompts, rel=1e-12)
    assert measured.cut == pytest.approx(1 - sum(items.ended.tolist()) / prompts)
    for interval in (measured.loss, measured.divergence, measured.length):
        assert interval.low <= interval.high


def test_the_interval_holds_the_middle_of_resamples_drawn_one_by_one() -> None:
    items = make_items(3, 24)
    rng = np.random.default_rng(9)
    resamples = rng.integers(0, 24, (20_000, 24))
    losses = items.loss[resamples].sum(axis=1) / items.tokens[resamples].sum(axis=1)
    low, high = np.quantile(losses, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    measured = RetentionDraws([items], 20_000, np.random.default_rng(1)).of(0).loss
    assert (measured.low, measured.high) == pytest.approx((low, high), abs=0.02 * (high - low))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(-2, 2))
def test_a_difference_is_paired_so_a_constant_shift_has_no_width(seed: int, shift: float) -> None:
    items = make_items(seed, 16)
    moved = RetentionItems(
        items.loss + shift * items.tokens, items.divergence, items.tokens, items.length + 3, items.ended
    )
    draws = draws_of(items, moved)
    difference = draws.difference("moved", 1, "items", 0)
    assert (difference.loss.low, difference.loss.value, difference.loss.high) == pytest.approx((shift,) * 3, abs=1e-9)
    assert (difference.length.low, difference.length.high) == pytest.approx((3, 3))
    assert (difference.divergence.low, difference.divergence.high) == (0, 0)
    assert draws.of(1).loss.high - draws.of(1).loss.low > 1e-3


def test_a_run_is_summarised_from_its_files_with_every_trained_arm_against_joint_and_start(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    freeze_reference(
        run,
        "key",
        [ReferenceAnswer("a", "b", (1, 2, 3, 4), 1, True), ReferenceAnswer("c", "d", (1, 2, 3, 4), 1, False)],
    )
    arms = ["base", "start", "joint", "merit-1d"]
    for number, arm in enumerate(arms):
        items = make_items(number, 2)
        columns = {name: getattr(items, name) for name in items.__slots__}
        save_keyed(run.retention(arm), "key", answers=np.array(["x", "y"]), **columns)
    settings = EvaluationSettings(retention=2, retention_tokens=3, bootstrap=100)
    results = summarise_retention(run, arms, settings, np.random.default_rng(0))
    assert (results.prompts, results.limit, results.reference_length, results.reference_cut) == (2, 3, 2.5, 0.5)
    assert list(results.arms) == arms
    pairs = [(difference.arm, difference.control) for difference in results.differences]
    assert pairs == [("joint", "start"), ("merit-1d", "joint"), ("merit-1d", "start")]
    for difference in results.differences:
        one, other = results.arms[difference.arm], results.arms[difference.control]
        assert difference.loss.value == pytest.approx(one.loss.value - other.loss.value)
        assert difference.length.value == pytest.approx(one.length.value - other.length.value)
