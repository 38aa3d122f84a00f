"""Laws of stability: against exact enumeration of every bootstrap draw, scikit-learn and all pairings of groups."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import adjusted_rand_score

from merit_theory.conflict import cosine_from_gram, cosine_similarity, estimate_conflicts
from merit_theory.partition import Partition, pca_partition, random_partition
from merit_theory.stability import (
    SplitStability,
    adjusted_rand_index,
    centring_agreement,
    flipped,
    resampled_grams,
    split_stability,
)

Floats = NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)


def cosine_split(gram: Floats) -> Partition:
    return pca_partition(cosine_from_gram(gram), 1, centre="double", cut="count")


def bootstrapped(sums: ArrayLike, counts: ArrayLike, draws: int, rng: np.random.Generator) -> SplitStability:
    grams = resampled_grams(sums, counts, draws=draws, rng=rng)
    reference = cosine_split(estimate_conflicts(sums, counts).gram)
    return split_stability(reference, [cosine_split(gram) for gram in grams])


def partition_pair(n_tasks: int, seed: int) -> tuple[Partition, Partition]:
    rng = np.random.default_rng(seed)
    first, second = (random_partition(n_tasks, int(rng.integers(1, n_tasks + 1)), rng) for _ in range(2))
    return first, second


# --- comparing partitions ----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.sampled_from([1, 2, 5, 12]), seeds)
def test_adjusted_rand_index_is_that_of_scikit_learn(n_tasks: int, seed: int) -> None:
    first, second = partition_pair(n_tasks, seed)
    expected = adjusted_rand_score(first.labels, second.labels)
    assert adjusted_rand_index(first, second) == pytest.approx(expected, abs=1e-12)
    assert adjusted_rand_index(first, first) == 1
    assert adjusted_rand_index(first, second) == adjusted_rand_index(second, first)


@settings(deadline=None)
@given(st.sampled_from([2, 5, 9]), seeds)
def test_flipped_tasks_are_the_fewest_over_all_pairings_of_groups(n_tasks: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_groups = int(rng.integers(1, min(n_tasks, 4) + 1))
    first, second = (random_partition(n_tasks, n_groups, rng) for _ in range(2))
    fewest = min(int((np.array(names)[second.labels] != first.labels).sum()) for names in permutations(range(n_groups)))
    assert flipped(first, second).sum() == fewest
    assert (fewest == 0) == first.matches(second)


def test_tasks_of_a_group_without_partner_are_flipped() -> None:
    whole, halves = Partition(((0, 1, 2),)), Partition(((0, 1), (2,)))
    assert flipped(whole, halves).tolist() == [False, False, True]
    assert flipped(halves, whole).tolist() == [False, False, True]


def test_partitions_of_different_tasks_are_not_compared() -> None:
    with pytest.raises(ValueError, match="of 2 and of 3 tasks"):
        adjusted_rand_index(Partition(((0, 1),)), Partition(((0, 1, 2),)))


# --- bootstrap ---------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_the_gram_matrix_of_every_draw_is_that_of_resampled_micro_batches(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = [rng.integers(1, 9, m) for m in (2, 1 + 2, 2)]
    sums = [rng.standard_normal((len(count), 4)) for count in counts]

    def gram_with(draw: tuple[tuple[int, ...], ...]) -> Floats:
        means = [
            s[list(chosen)].sum(axis=0) / n[list(chosen)].sum() for s, n, chosen in zip(sums, counts, draw, strict=True)
        ]
        return np.inner(means, means)

    every_draw = [gram_with(draw) for draw in product(*(product(range(len(n)), repeat=len(n)) for n in counts))]
    as_measured = gram_with(tuple(tuple(range(len(n))) for n in counts))
    np.testing.assert_allclose(as_measured, estimate_conflicts(sums, counts).gram, rtol=0, atol=1e-12)
    for gram in resampled_grams(sums, counts, draws=10, rng=rng):
        assert min(np.abs(gram - candidate).max() for candidate in every_draw) < 1e-12


def test_bootstrap_frequencies_are_those_of_all_draws_enumerated() -> None:
    rng = np.random.default_rng(17)
    sums, counts = rng.standard_normal((4, 2, 3)) + 0.5 * rng.standard_normal((4, 1, 3)), rng.integers(1, 5, (4, 2))
    reference = cosine_split(estimate_conflicts(sums, counts).gram)
    flips, same, rand = np.zeros(4), 0.0, 0.0
    for draw in product(product(range(2), repeat=2), repeat=4):
        sketches = [task[list(chosen)].sum(axis=0) for task, chosen in zip(sums, draw, strict=True)]
        resampled = cosine_split(cosine_similarity(sketches))
        flips += flipped(reference, resampled)
        same += reference.matches(resampled)
        rand += adjusted_rand_score(reference.labels, resampled.labels)
    n_draws = 2**8
    stability = bootstrapped(sums, counts, 1500, rng)
    assert 0.1 < same / n_draws < 0.9
    within = 4 * 0.5 / np.sqrt(1500)
    np.testing.assert_allclose(stability.flip_probability, flips / n_draws, rtol=0, atol=within)
    assert stability.same_partition == pytest.approx(same / n_draws, abs=within)
    assert stability.mean_adjusted_rand == pytest.approx(rand / n_draws, abs=2 * within)


def test_a_split_of_noise_free_gradients_never_flips() -> None:
    rng = np.random.default_rng(0)
    sums = rng.standard_normal((8, 1, 50)).repeat(6, axis=1)
    stability = bootstrapped(sums, np.full((8, 6), 3), 25, rng)
    np.testing.assert_array_equal(stability.flip_probability, 0)
    assert stability.same_partition == stability.mean_adjusted_rand == 1


def test_the_task_nearest_to_the_cut_flips_most() -> None:
    rng = np.random.default_rng(1)
    places = np.array([-3.0, -2.5, -2.0, -0.05, 0.05, 2.0, 2.5, 3.0])
    means = np.outer(places, np.eye(1, 30)) + 3 * np.eye(1, 30, 1)
    sums = means[:, None] + 0.4 * rng.standard_normal((8, 8, 30))
    stability = bootstrapped(sums, np.ones((8, 8)), 200, rng)
    assert set(np.argsort(stability.flip_probability)[-2:]) == {3, 4}
    assert stability.flip_probability[3] > 0.05
    np.testing.assert_array_equal(stability.flip_probability[[0, 1, 2, 5, 6, 7]], 0)


def test_a_split_of_pure_noise_is_not_much_better_than_chance() -> None:
    rng = np.random.default_rng(2)
    stability = bootstrapped(rng.standard_normal((12, 4, 200)), np.ones((12, 4)), 60, rng)
    assert stability.same_partition < 0.1
    assert stability.mean_adjusted_rand < 0.5


def test_wide_sketches_are_summed_over_all_their_columns() -> None:
    rng = np.random.default_rng(3)
    sums = rng.standard_normal((3, 1, 4096 + 5)).astype(np.float32).repeat(2, axis=1)  # equal, so that draws are too
    expected = estimate_conflicts(sums, np.ones((3, 2))).gram
    for gram in resampled_grams(sums, np.ones((3, 2)), draws=3, rng=rng):
        np.testing.assert_allclose(gram, expected, rtol=0, atol=1e-12 * np.trace(expected))


def test_a_bootstrap_is_its_seed() -> None:
    sums, counts = np.random.default_rng(4).standard_normal((6, 3, 5)), np.ones((6, 3))
    first, again = (bootstrapped(sums, counts, 20, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.flip_probability, again.flip_probability)
    assert first.mean_adjusted_rand == again.mean_adjusted_rand


def test_a_bootstrap_of_nothing_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="0 draws"):
        resampled_grams(np.ones((2, 2, 1)), np.ones((2, 2)), draws=0, rng=rng)
    with pytest.raises(ValueError, match="task 0 has 1 micro-batch"):
        resampled_grams(np.ones((2, 1, 1)), np.ones((2, 1)), draws=1, rng=rng)
    with pytest.raises(ValueError, match="at least one draw"):
        split_stability(Partition(((0,), (1,))), [])


# --- centrings ---------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(seeds)
def test_centrings_agree_as_their_partitions_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = cosine_similarity(rng.standard_normal((9, 6)) + rng.standard_normal(6))
    weights = rng.integers(1, 9, 9)

    def split(centre: str) -> Partition:
        return pca_partition(matrix, 2, centre=centre, cut="samples", weights=weights)

    agreement = centring_agreement(split)
    assert set(agreement) == {("none", "rows"), ("none", "double"), ("rows", "double")}
    for (one, other), index in agreement.items():
        assert index == pytest.approx(adjusted_rand_score(split(one).labels, split(other).labels), abs=1e-12)
