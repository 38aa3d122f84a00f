from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.merge.random_masks import random_mask


def constant(size: int) -> tuple[dict, list[dict]]:
    return {"w": np.zeros(size, np.float32)}, [{"w": np.full(size, v, np.float32)} for v in (1.0, -4.0)]


@settings(deadline=None, max_examples=50)
@given(begin=st.integers(0, 5000), size=st.integers(1, 300), branch=st.integers(0, 3), density=st.floats(0.01, 0.99))
def test_a_mask_is_the_same_whatever_chunk_it_is_made_in(begin: int, size: int, branch: int, density: float) -> None:
    whole = random_mask(density, 5, branch, "w", 0, 5300)
    assert np.array_equal(random_mask(density, 5, branch, "w", begin, size), whole[begin : begin + size])


def test_masks_are_pinned_for_ever() -> None:
    assert np.flatnonzero(random_mask(0.2, 0, 0, "lm_head.weight", 10**12, 40)).tolist() == [
        6,
        10,
        11,
        18,
        27,
        36,
        38,
        39,
    ]


def test_masks_keep_the_wanted_share_and_are_independent_across_seed_branch_and_tensor() -> None:
    n, density = 200_000, 0.3
    mask = random_mask(density, 0, 0, "w", 0, n)
    for other in (random_mask(density, *rest, 0, n) for rest in ((1, 0, "w"), (0, 1, "w"), (0, 0, "v"))):
        assert abs(other.mean() - density) < 5 * np.sqrt(density * (1 - density) / n)
        both = density**2
        assert abs((mask & other).mean() - both) < 5 * np.sqrt(both * (1 - both) / n)
    neighbours = (mask[1:] & mask[:-1]).mean()
    assert abs(neighbours - density**2) < 5 * np.sqrt(2 * density**2 / n)


def test_the_merge_is_the_weighted_average_in_expectation_and_takes_only_its_possible_values(merge) -> None:
    start, branches = constant(40_000)
    weights, density = (0.75, 0.25), 0.2
    merged = merge("dare", branches, start, weights, density=density)["w"].astype(np.float64)
    possible = {0.75 * a / density - 0.25 * 4 * b / density for a, b in product((0, 1), repeat=2)}
    assert set(np.round(np.unique(merged), 4)) == {round(value, 4) for value in possible}
    spread = np.sqrt((0.75**2 + 1) * (1 - density) / density / merged.size)
    assert abs(merged.mean() - (0.75 - 1)) < 5 * spread


def test_a_density_of_one_is_the_scaled_weighted_average(merge) -> None:
    start, branches = constant(3)
    assert merge("dare", branches, start, (0.75, 0.25), density=1, scale=2.0)["w"].tolist() == [-0.5] * 3


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000), weights=st.sampled_from([(0.5, 0.5), (0.25, 0.75), (1.5, -0.5)]))
def test_dare_ties_sums_what_agrees_with_the_sign_of_the_sum(merge, seed: int, weights: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    start = {"w": rng.normal(size=60).astype(np.float32)}
    branches = [{"w": start["w"] + np.float32(rng.integers(-2, 3, 60) / 4)} for _ in weights]
    merged = merge("dare-ties", branches, start, weights, density=0.5, seed=seed, scale=0.5)["w"]
    for j, value in enumerate(merged):
        parts = [
            weight * (branch["w"][j] - start["w"][j]) / 0.5 * random_mask(0.5, seed, k, "w", j, 1)[0]
            for k, (weight, branch) in enumerate(zip(weights, branches, strict=True))
        ]
        agreeing = [part for part in parts if (part > 0) == (sum(parts) >= 0)]
        assert abs(start["w"][j] + 0.5 * sum(agreeing) - value) < 2e-6
