from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import InputError

START = {"w": np.zeros(3, np.float32)}


def axes(*rows: list[float]) -> list[dict]:
    return [{"w": np.float32(row)} for row in rows]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(2, 4), common=st.sampled_from([0.0, 0.5, 3.0]))
def test_the_average_is_drawn_back_by_the_mean_cosine_of_each_tensor(merge, seed, k, common) -> None:
    rng = np.random.default_rng(seed)
    start = {name: rng.normal(size=shape).astype(np.float32) for name, shape in (("a", (5, 4)), ("b", (9,)))}
    shared = {name: rng.normal(size=value.shape) for name, value in start.items()}
    branches = [
        {n: (v + 0.1 * (common * shared[n] + rng.normal(size=v.shape))).astype(np.float32) for n, v in start.items()}
        for _ in range(k)
    ]
    merged = merge("model-stock", branches, start)
    for name, base in start.items():
        moves = [branch[name].reshape(-1).astype(np.float64) - base.reshape(-1) for branch in branches]
        cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in combinations(moves, 2)]
        mean = np.mean(cosines)
        ratio = k * mean / (1 + (k - 1) * mean)
        expected = ratio * np.mean([branch[name] for branch in branches], axis=0) + (1 - ratio) * base
        np.testing.assert_allclose(merged[name], expected, rtol=0, atol=1e-6 * (1 + abs(ratio)))


def test_branches_that_agree_are_kept_and_orthogonal_ones_give_the_start(merge) -> None:
    assert merge("model-stock", axes([0, 3, 0], [0, 3, 0]), START)["w"].tolist() == [0, 3, 0]
    assert merge("model-stock", axes([2, 0, 0], [0, 3, 0]), START)["w"].tolist() == [0, 0, 0]


def test_opposed_branches_and_a_branch_that_did_not_move_have_a_finite_merge(merge) -> None:
    assert merge("model-stock", axes([2, 0, 0], [-3, 0, 0]), START)["w"].tolist() == [0, 0, 0]
    assert merge("model-stock", axes([2, 0, 0], [0, 0, 0]), START)["w"].tolist() == [0, 0, 0]
    # Cosines 1, 0, 0 of three branches: t = 3 · ⅓ / (1 + 2 · ⅓) = 0.6.
    merged = merge("model-stock", axes([2, 0, 0], [4, 0, 0], [0, 0, 0]), START)["w"]
    assert merged == pytest.approx([0.6 * 2, 0, 0])


def test_cosines_do_not_depend_on_how_small_displacements_are(merge) -> None:
    tiny = merge("model-stock", axes([1e-12, 0, 0], [1e-12, 1e-12, 0]), START)["w"].astype(np.float64)
    large = merge("model-stock", axes([1, 0, 0], [1, 1, 0]), START)["w"]
    np.testing.assert_allclose(tiny * 1e12, large, rtol=1e-6)


def test_one_branch_is_refused(merge) -> None:
    with pytest.raises(InputError, match="give it two or more"):
        merge("model-stock", axes([1, 0, 0]), START)
