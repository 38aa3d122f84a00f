import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def model(draw_seed: int, k: int, kind: str, dtype: str = "float32") -> tuple[dict, list[dict]]:
    """A start and ``k`` branches; dyadic displacements are exact, often equal in size, zero or opposed."""
    rng = np.random.default_rng(draw_seed)
    shapes = {"a": (7, 5), "b": (11,), "c": (2, 3, 2)}
    start = {name: (rng.integers(-40, 41, shape) / 8).astype(dtype) for name, shape in shapes.items()}
    branches = []
    for _ in range(k):
        moved = {}
        for name, value in start.items():
            step = rng.integers(-4, 5, value.shape) / 8 if kind == "dyadic" else rng.normal(size=value.shape) / 64
            moved[name] = (value + step).astype(dtype)
        branches.append(moved | {"frozen": np.full(9, 0.1, dtype)})
    return start | {"frozen": np.full(9, 0.1, dtype)}, branches


def flat(state: dict, names: list[str]) -> np.ndarray:
    return np.concatenate([state[name].reshape(-1).astype(np.float64) for name in names])


def official(start: np.ndarray, displacements: np.ndarray, density: float, scale: float, aggregation: str):
    """TIES on flattened models, one coordinate after the other."""
    n = len(start)
    rank = n - int(density * n)
    limits = [np.sort(np.abs(d))[rank - 1] if rank else 0.0 for d in displacements]
    kept = np.array([[x if abs(x) >= t else 0.0 for x in d] for d, t in zip(displacements, limits, strict=True)])
    signs = [np.sign(sum(column)) for column in kept.T]
    majority = np.sign(sum(signs))
    merged = []
    for value, column, sign in zip(start, kept.T, signs, strict=True):
        elected = 1 if (sign or majority) > 0 else -1
        agreeing = [x for x in column if x * elected > 0] or [0.0]
        made = {"mean": np.mean(agreeing), "sum": np.sum(agreeing), "max": max(agreeing, key=abs)}[aggregation]
        merged.append(value + scale * made)
    return np.array(merged)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 4),
    kind=st.sampled_from(["dyadic", "normal"]),
    dtype=st.sampled_from(["float32", "float64"]),
    density=st.sampled_from([0.01, 0.2, 0.5, 0.97, 1.0]),
    aggregation=st.sampled_from(["mean", "sum", "max"]),
)
def test_the_streamed_merge_is_ties_on_the_flattened_model(merge, seed, k, kind, dtype, density, aggregation) -> None:
    start, branches = model(seed, k, kind, dtype)
    merged = merge("ties", branches, start, density=density, scale=0.5, aggregation=aggregation)
    names = list(start)
    base = flat(start, names)
    displacements = np.array([flat(branch, names) for branch in branches]) - base
    if dtype == "float32":
        displacements = displacements.astype(np.float32).astype(np.float64)
    expected = official(base, displacements, density, 0.5, aggregation)
    np.testing.assert_allclose(flat(merged, names), expected, rtol=0, atol=4e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("density", [0.2, 0.5])
def test_by_tensor_every_tensor_is_merged_as_if_it_were_the_model(merge, density) -> None:
    start, branches = model(0, 3, "dyadic")
    merged = merge("ties", branches, start, density=density, scope="tensor")
    for name in ("a", "b", "c"):
        alone = merge("ties", [{name: branch[name]} for branch in branches], {name: start[name]}, density=density)
        np.testing.assert_array_equal(merged[name], alone[name])


@pytest.mark.parametrize(("votes", "elected"), [([1, 1, 1], 1.0), ([-1, -1, -1], -1.0), ([1, -1, 0], -1.0)])
def test_where_branches_cancel_out_the_model_decides(merge, votes, elected) -> None:
    start = {"undecided": np.zeros(1, np.float32), "voters": np.zeros(3, np.float32)}
    first = {"undecided": np.ones(1, np.float32), "voters": np.float32(votes)}
    second = {"undecided": -np.ones(1, np.float32), "voters": np.float32(votes)}
    assert merge("ties", [first, second], start, density=1)["undecided"].tolist() == [elected]


def test_every_entry_that_equals_the_threshold_is_kept_and_frozen_ones_count(merge) -> None:
    start = {"w": np.zeros(10, np.float32), "frozen": np.ones(10, np.float32)}
    branch = {"w": np.float32([5, 4, 3, 3, 3, 3, 2, 1, 0, 0]), "frozen": start["frozen"]}
    # A fifth of the 20 entries is 4; the 16th smallest magnitude is 3, and all four threes are kept.
    assert merge("ties", [branch], start)["w"].tolist() == [5, 4, 3, 3, 3, 3, 0, 0, 0, 0]
    assert merge("ties", [{"w": branch["w"]}], {"w": start["w"]})["w"].tolist() == [5, 4, 3, 3, 3, 3, 0, 0, 0, 0]
    assert merge("ties", [{"w": branch["w"]}], {"w": start["w"]}, density=0.1)["w"].tolist() == [5, 4] + 8 * [0]


def mergekits(start: np.ndarray, displacements: np.ndarray, weights: list[float], density: float) -> np.ndarray:
    kept = np.zeros_like(displacements)
    for row, d in zip(kept, displacements, strict=True):
        largest = sorted(range(len(d)), key=lambda j: (-abs(d[j]), j))[: max(1, int(density * len(d)))]
        row[largest] = d[largest]
    merged = []
    for value, column in zip(start, (kept * np.array(weights)[:, None]).T, strict=True):
        elected = 1 if sum(column) >= 0 else -1
        agreeing = [k for k, x in enumerate(column) if x * elected > 0]
        merged.append(value + sum(column[k] for k in agreeing) / (sum(weights[k] for k in agreeing) or 1))
    return np.array(merged)


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    weights=st.sampled_from([[1.0], [0.5, 0.5], [0.75, 0.25], [0.5, 0.25, 0.25], [1.25, 0.25, -0.5]]),
    kind=st.sampled_from(["dyadic", "normal"]),
    density=st.sampled_from([0.01, 0.2, 0.5, 1.0]),
)
def test_mergekits_form_keeps_exactly_the_largest_entries_of_each_tensor(merge, seed, weights, kind, density) -> None:
    start, branches = model(seed, len(weights), kind)
    merged = merge("ties-mergekit", branches, start, weights, density=density)
    for name in ("a", "b", "c"):
        base = flat(start, [name])
        displacements = np.array([flat(branch, [name]) for branch in branches]) - base
        displacements = displacements.astype(np.float32).astype(np.float64)
        expected = mergekits(base, displacements, weights, density)
        np.testing.assert_allclose(flat(merged, [name]), expected, rtol=0, atol=4e-6)


def test_in_mergekits_form_a_sum_of_zero_counts_as_positive(merge) -> None:
    start = {"w": np.zeros(2, np.float32)}
    branches = [{"w": np.float32([1, -4])}, {"w": np.float32([-1, 4])}]
    assert merge("ties-mergekit", branches, start, (0.5, 0.5), density=1)["w"].tolist() == [1, 4]
