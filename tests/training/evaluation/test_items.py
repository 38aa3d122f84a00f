from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.items import Items, load_items
from training.keyed_file import save_keyed


def make_items(seed: int, sizes: tuple[int, ...]) -> Items:
    rng = np.random.default_rng(seed)
    count = sum(sizes)
    tokens = rng.integers(1, 9, count)
    return Items(
        tasks=tuple(f"t{number}" for number in range(len(sizes))),
        outside=np.arange(len(sizes)) >= len(sizes) - 1,
        task=rng.permutation(np.repeat(np.arange(len(sizes)), sizes)),
        loss=rng.gamma(2.0, size=count),
        tokens=tokens,
        correct=rng.integers(0, tokens + 1),
        match=rng.integers(-1, 2, count).astype(np.int8),
    )


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(1,), (3, 1), (5, 2, 9)]))
def test_numbers_of_a_task_are_sums_over_its_items_before_they_are_divided(seed: int, sizes: tuple[int, ...]) -> None:
    items = make_items(seed, sizes)
    for task in range(len(sizes)):
        mine = [item for item in range(len(items.task)) if items.task[item] == task]
        tokens = sum(items.tokens[item] for item in mine)
        assert items.task_losses[task] == pytest.approx(sum(items.loss[item] for item in mine) / tokens, rel=1e-12)
        assert items.task_accuracy[task] == pytest.approx(sum(items.correct[item] for item in mine) / tokens)
        generated = [items.match[item] for item in mine if items.match[item] >= 0]
        if generated:
            assert items.task_match[task] == pytest.approx(sum(generated) / len(generated))
        else:
            assert np.isnan(items.task_match[task])


def test_items_come_back_from_their_file(tmp_path: Path) -> None:
    items = make_items(0, (4, 2))
    columns = {name: getattr(items, name) for name in ("outside", "task", "loss", "tokens", "correct", "match")}
    save_keyed(tmp_path / "a.npz", "key", tasks=np.array(items.tasks), answers=np.array(["x"] * 6), **columns)
    read = load_items(tmp_path / "a.npz")
    assert read.tasks == items.tasks
    for name, column in columns.items():
        assert getattr(read, name).dtype == column.dtype
        np.testing.assert_array_equal(getattr(read, name), column)
