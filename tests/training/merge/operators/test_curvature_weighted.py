"""OTA and Fast Fisher Grafting: what reads Adam's second moments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SHAPES = {"a": (6, 5), "b": (8,)}


def case(seed: int, k: int) -> tuple[dict, list[dict], list[dict]]:
    rng = np.random.default_rng(seed)
    start = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    branches = [
        {n: v + rng.normal(scale=1e-2, size=v.shape).astype(np.float32) for n, v in start.items()} for _ in range(k)
    ]
    # From gradients of 1e-14 to 1e-3, so that v times a squared displacement is far below what float32 can hold.
    moments = [{n: (10 ** rng.uniform(-28, -6, s)).astype(np.float32) for n, s in SHAPES.items()} for _ in range(k)]
    return start, branches, moments


def flat(state: dict) -> np.ndarray:
    return np.concatenate([state[name].reshape(-1).astype(np.float64) for name in SHAPES])


def masks(displacements: np.ndarray, moments: np.ndarray, density: float) -> np.ndarray:
    saliency = moments * displacements**2
    rank = saliency.shape[1] - int(density * saliency.shape[1])
    if rank == 0:
        return np.ones_like(saliency)
    # A hair below the threshold: saliencies are rounded differently in float32.
    return saliency >= np.sort(saliency, axis=1)[:, rank - 1 : rank] * (1 - 1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 4), density=st.sampled_from([0.05, 0.4, 1.0]))
def test_the_streamed_merges_are_the_formulas_on_the_flattened_model(merge, seed, k, density) -> None:
    start, branches, moments = case(seed, k)
    base, v = flat(start), np.array([flat(m) for m in moments])
    displacements = np.array([flat(branch) for branch in branches]) - base
    kept = masks(displacements, v, density)

    weights = (np.sqrt(v) + 1e-26) * kept
    total = weights.sum(axis=0)
    average = (weights * displacements).sum(axis=0) / np.where(total > 0, total, 1)
    merged = merge("ota", branches, start, moments=moments, density=density, scale=0.5)
    np.testing.assert_allclose(flat(merged), base + 0.5 * average, rtol=0, atol=1e-6)

    shares = np.arange(1, k + 1) / sum(range(1, k + 1))
    merged = merge("ffg", branches, start, list(shares), moments, density=density, scale=0.5)
    np.testing.assert_allclose(flat(merged), base + 0.5 * shares @ (kept * displacements), rtol=0, atol=1e-6)


def test_equal_moments_give_the_mean_and_moments_of_any_common_scale_the_same_merge(merge) -> None:
    start, branches, moments = case(0, 3)
    mean = merge("linear", branches)
    for name, value in merge("ota", branches, start, moments=[moments[0]] * 3).items():
        np.testing.assert_allclose(value, mean[name], rtol=0, atol=1e-6)
    scaled = [{name: v * np.float32(2**-20) for name, v in state.items()} for state in moments]
    one, other = (merge("ota", branches, start, moments=m, density=0.5, epsilon=0) for m in (moments, scaled))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_without_any_gradient_epsilon_decides_between_the_mean_and_the_start(merge) -> None:
    start, branches, _ = case(1, 2)
    none = [{}, {}]
    mean = merge("linear", branches)
    merged = merge("ota", branches, start, moments=none)
    kept = merge("ota", branches, start, moments=none, epsilon=0)
    for name, value in start.items():
        np.testing.assert_allclose(merged[name], mean[name], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(kept[name], value)


@pytest.mark.parametrize("operator", ["ota", "ffg"])
def test_the_mask_is_global_so_a_tensor_without_curvature_stays_the_starts(merge, operator) -> None:
    start = {"seen": np.zeros(10, np.float32), "unseen": np.zeros(10, np.float32)}
    branch = {name: np.ones(10, np.float32) for name in start}
    moments = {"seen": np.ones(10, np.float32)}
    merged = merge(operator, [branch], start, moments=[moments], density=0.4)
    assert merged["seen"].tolist() == [1.0] * 10
    assert merged["unseen"].tolist() == [0.0] * 10
