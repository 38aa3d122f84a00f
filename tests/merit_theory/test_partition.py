"""Laws of partitions: cuts against brute force, F.11 against enumeration, and the edges where groups could be empty."""

from collections import Counter
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from merit_theory.conflict import centred, cosine_similarity, gram_matrix, principal_axes
from merit_theory.partition import (
    Partition,
    balanced_splits,
    between_group_objective,
    cut_in_two,
    pca_partition,
    random_partition,
    swap_refined,
)

Floats = NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)
centrings = st.sampled_from(["none", "rows", "double"])
weighted_cuts = st.sampled_from(["count", "samples", "tokens"])


def gradients(n_tasks: int, seed: int) -> Floats:
    """Task gradients [n_tasks, 12] with a shared mean and heavy tails."""
    rng = np.random.default_rng(seed)
    return rng.standard_t(3, (n_tasks, 12)) + rng.standard_normal(12)


# --- Partition ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "complaint"),
    [
        ((), "at least one group"),
        (((0, 1), ()), "group 1 is empty"),
        (((0, 1), (1, 2)), "exactly once"),
        (((0,), (2,)), "exactly once"),
        (((1, 2),), "exactly once"),
        (((-1, 0),), "exactly once"),
    ],
)
def test_a_partition_holds_every_task_once_and_no_empty_group(groups: tuple, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Partition(groups)


@settings(deadline=None)
@given(st.sampled_from([(1, 1), (5, 2), (9, 4)]), seeds)
def test_labels_and_groups_say_the_same(shape: tuple[int, int], seed: int) -> None:
    partition = random_partition(*shape, np.random.default_rng(seed))
    assert Partition.from_labels(partition.labels) == partition
    for group, members in enumerate(partition.groups):
        assert set(np.flatnonzero(partition.labels == group)) == set(members)
    np.testing.assert_array_equal(partition.indicators.argmax(axis=1), partition.labels)


@settings(deadline=None)
@given(seeds)
def test_partitions_match_up_to_the_order_of_groups_and_no_further(seed: int) -> None:
    rng = np.random.default_rng(seed)
    partition = random_partition(9, 3, rng)
    shuffled = Partition(tuple(tuple(rng.permutation(partition.groups[group]).tolist()) for group in (2, 0, 1)))
    assert shuffled.matches(partition)
    assert shuffled.canonical() == partition.canonical() == partition.canonical().canonical()
    labels = partition.labels
    labels[0] = (labels[0] + 1) % 3
    assert not Partition.from_labels(labels).matches(partition)


# --- cuts --------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.sampled_from([(2, 1), (3, 1), (7, 1), (7, 3), (8, 4), (12, 2)]), seeds, weighted_cuts, st.booleans())
def test_a_cut_is_the_most_even_of_all_places_along_the_order(
    shape: tuple[int, int], seed: int, cut: str, ties: bool
) -> None:
    n_tasks, at_least = shape
    rng = np.random.default_rng(seed)
    coordinate = rng.integers(0, 3, n_tasks).astype(float) if ties else rng.standard_normal(n_tasks)
    given_weights = rng.integers(1, 20, n_tasks) if rng.random() < 0.5 else 2.0 ** rng.integers(0, 12, n_tasks)
    weights = np.ones(n_tasks) if cut == "count" else given_weights
    low, high = cut_in_two(coordinate, cut=cut, weights=given_weights, at_least=at_least)

    ranked = sorted(range(n_tasks), key=lambda task: (coordinate[task], task))
    imbalances = {
        size: abs(sum(weights[task] for task in ranked[:size]) - sum(weights[task] for task in ranked[size:]))
        for size in range(at_least, n_tasks - at_least + 1)
    }
    assert sorted(low) == sorted(ranked[: len(low)])
    assert sorted([*low, *high]) == list(range(n_tasks))
    assert len(low) in imbalances
    assert imbalances[len(low)] == min(imbalances.values())

    def gap(size: int) -> float:
        return coordinate[ranked[size]] - coordinate[ranked[size - 1]]

    even = [size for size, imbalance in imbalances.items() if imbalance == min(imbalances.values())]
    assert gap(len(low)) == max(gap(size) for size in even)
    assert all(gap(size) < gap(len(low)) for size in even if size < len(low))


@settings(deadline=None)
@given(st.sampled_from([2, 5, 9, 14]), seeds, weighted_cuts)
def test_mirroring_the_axis_mirrors_the_cut(n_tasks: int, seed: int, cut: str) -> None:
    rng = np.random.default_rng(seed)
    coordinate, weights = rng.standard_normal(n_tasks), rng.integers(1, 9, n_tasks)
    low, high = cut_in_two(coordinate, cut=cut, weights=weights)
    mirrored_low, mirrored_high = cut_in_two(-coordinate, cut=cut, weights=weights)
    assert (low.tolist(), high.tolist()) == (mirrored_high.tolist(), mirrored_low.tolist())


def test_equal_coordinates_are_cut_by_task_index() -> None:
    low, high = cut_in_two(np.zeros(6), cut="count")
    assert (low.tolist(), high.tolist()) == ([0, 1, 2], [3, 4, 5])
    low, high = cut_in_two([1.0, 0.0, 1.0, 1.0], cut="count")
    assert (low.tolist(), high.tolist()) == ([0, 1], [2, 3])


def test_equal_fractional_weights_tie_in_spite_of_rounding() -> None:
    coordinate = [0.0, 1.0, 2.0, 9.0, 10.0]
    for weight in (1.0, 0.1, 0.3, 1e-7):
        low, _ = cut_in_two(coordinate, cut="tokens", weights=np.full(5, weight))
        assert low.tolist() == [0, 1, 2]


@pytest.mark.parametrize("place", [0, 1, 3, 4])
def test_a_task_heavier_than_all_others_leaves_no_side_empty(place: int) -> None:
    weights = np.ones(5)
    weights[place] = 1e6
    low, high = cut_in_two(np.arange(5.0), cut="tokens", weights=weights)
    # The heavy task is joined by the fewer of its neighbours on either side.
    expected = {0: 1, 1: 2, 3: 3, 4: 4}[place]
    assert (low.tolist(), high.tolist()) == (list(range(expected)), list(range(expected, 5)))


def test_sign_cuts_at_zero_and_counts_zero_as_not_negative() -> None:
    low, high = cut_in_two([0.0, -3.0, 2.0, -1.0, -0.0, -0.5], cut="sign")
    assert (low.tolist(), high.tolist()) == ([1, 3, 5], [0, 2, 4])


@pytest.mark.parametrize(
    ("coordinate", "at_least", "low"),
    [
        ([3.0, 1.0, 2.0], 1, [1]),
        ([-3.0, -1.0, -2.0], 1, [0, 2]),
        ([3.0, 1.0, 2.0, 4.0], 2, [1, 2]),
        ([-3.0, -1.0, -2.0, 4.0], 2, [0, 2]),
        ([0.0, 0.0], 1, [0]),
    ],
)
def test_sign_takes_the_nearest_place_that_leaves_both_sides_enough(
    coordinate: list[float], at_least: int, low: list[int]
) -> None:
    assert cut_in_two(coordinate, cut="sign", at_least=at_least)[0].tolist() == low


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"coordinate": [1.0], "cut": "count"}, "1 tasks cannot be cut into two sides of at least 1"),
        ({"coordinate": [1.0, 2.0, 3.0], "cut": "count", "at_least": 2}, "3 tasks cannot be cut"),
        ({"coordinate": [1.0, np.nan], "cut": "count"}, "finite"),
        ({"coordinate": [1.0, 2.0], "cut": "median"}, "cut is 'median'"),
        ({"coordinate": [1.0, 2.0], "cut": "tokens"}, "needs the tokens of every task"),
        ({"coordinate": [1.0, 2.0], "cut": "tokens", "weights": [1.0]}, r"shape \(1,\)"),
        ({"coordinate": [1.0, 2.0], "cut": "samples", "weights": [1.0, 0.0]}, "task 1 weighs 0.0"),
    ],
)
def test_cuts_that_mean_nothing_are_refused(arguments: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        cut_in_two(**arguments)


# --- PCA partition -----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.sampled_from([(2, 1), (5, 2), (8, 3), (9, 3), (21, 2)]), seeds, centrings, st.sampled_from(["sign", "samples"])
)
def test_no_rule_leaves_a_group_empty(shape: tuple[int, int], seed: int, centre: str, cut: str) -> None:
    n_tasks, depth = shape
    weights = 10 ** np.random.default_rng(seed).uniform(0, 5, n_tasks)
    matrix = cosine_similarity(gradients(n_tasks, seed))
    partition = pca_partition(matrix, depth, centre=centre, cut=cut, weights=weights)
    assert len(partition.groups) == 2**depth
    assert partition.n_tasks == n_tasks


@settings(deadline=None)
@given(st.sampled_from([(8, 3), (11, 2), (21, 3)]), seeds, centrings)
def test_cuts_by_count_give_sizes_that_differ_by_one_at_most(shape: tuple[int, int], seed: int, centre: str) -> None:
    partition = pca_partition(cosine_similarity(gradients(shape[0], seed)), shape[1], centre=centre, cut="count")
    sizes = [len(group) for group in partition.groups]
    assert max(sizes) - min(sizes) <= 1


@settings(deadline=None)
@given(st.sampled_from([8, 13, 20]), seeds, centrings)
def test_each_level_cuts_every_group_along_its_own_axis(n_tasks: int, seed: int, centre: str) -> None:
    matrix = cosine_similarity(gradients(n_tasks, seed))
    coordinates = principal_axes(matrix, 2, centre=centre).coordinates
    groups = pca_partition(matrix, 2, centre=centre, cut="count").groups
    assert coordinates[[*groups[0], *groups[1]], 0].max() <= coordinates[[*groups[2], *groups[3]], 0].min()
    for low, high in (groups[:2], groups[2:]):
        assert coordinates[list(low), 1].max() <= coordinates[list(high), 1].min()


@settings(deadline=None)
@given(st.sampled_from([8, 13, 20]), seeds)
def test_each_group_is_cut_by_the_weights_of_its_own_tasks(n_tasks: int, seed: int) -> None:
    matrix = cosine_similarity(gradients(n_tasks, seed))
    weights = np.random.default_rng(seed).integers(1, 100, n_tasks)
    places = principal_axes(matrix, 2, centre="double").coordinates[:, 1]
    groups = pca_partition(matrix, 2, centre="double", cut="tokens", weights=weights).groups
    for low, high in (groups[:2], groups[2:]):
        half = sorted([*low, *high], key=lambda task: places[task])
        imbalances = [abs(weights[half[:size]].sum() - weights[half[size:]].sum()) for size in range(1, len(half))]
        assert abs(weights[list(low)].sum() - weights[list(high)].sum()) == min(imbalances)


@settings(deadline=None)
@given(seeds)
def test_a_deeper_partition_by_count_refines_a_shallower_one(seed: int) -> None:
    matrix = cosine_similarity(gradients(17, seed))
    shallow, deep = (pca_partition(matrix, depth, centre="double", cut="count") for depth in (2, 3))
    assert [tuple(sorted(deep.groups[2 * g] + deep.groups[2 * g + 1])) for g in range(4)] == list(shallow.groups)


def test_a_deeper_partition_by_tokens_may_have_to_cut_elsewhere() -> None:
    places = np.array([0.0, 1.0, 2.0, 3.0, 5.0])
    matrix, weights = np.outer(places - places.mean(), places - places.mean()), [100.0, 1.0, 1.0, 1.0, 1.0]
    shallow, deep = (pca_partition(matrix, depth, centre="double", cut="tokens", weights=weights) for depth in (1, 2))
    assert sorted(len(group) for group in shallow.groups) == [1, 4]
    assert sorted(len(group) for group in deep.groups) == [1, 1, 1, 2]


@settings(deadline=None)
@given(st.sampled_from([(6, 1), (11, 1), (13, 2)]), seeds, centrings)
def test_renaming_tasks_and_scaling_the_matrix_rename_the_partition_alone(
    shape: tuple[int, int], seed: int, centre: str
) -> None:
    n_tasks, depth = shape
    matrix = cosine_similarity(gradients(n_tasks, seed))
    order = np.random.default_rng(seed).permutation(n_tasks)
    partition = pca_partition(matrix, depth, centre=centre, cut="count")
    renamed = pca_partition(7.0 * matrix[np.ix_(order, order)], depth, centre=centre, cut="count")
    assert renamed.matches(Partition.from_labels(partition.labels[order]))


@settings(deadline=None)
@given(st.sampled_from([4, 8, 12]), seeds)
def test_median_split_meets_the_corrected_bound_of_f11(n_tasks: int, seed: int) -> None:
    gram = gram_matrix(gradients(n_tasks, seed) * np.random.default_rng(seed).standard_t(1.2, (n_tasks, 1)))
    axes = principal_axes(gram, 1, centre="double")
    signs = 2.0 * pca_partition(gram, 1, centre="double", cut="count").labels - 1
    first = axes.coordinates[:, 0]
    bound = np.abs(first - np.median(first)).sum() ** 2
    assert signs @ gram @ signs >= bound - 1e-9 * n_tasks * np.trace(gram)


def test_the_paper_s_bound_of_f11_fails_after_balancing_and_the_split_is_the_worst_of_three() -> None:
    optima = np.array([[-2.0, -3.0], [-2.0, 4.0], [0.0, -1.0], [4.0, 0.0]])
    gram = optima @ optima.T
    split = pca_partition(gram, 1, centre="double", cut="count")
    assert split.matches(Partition(((0, 3), (1, 2))))

    def spread(partition: Partition) -> float:
        signs = 2.0 * partition.labels - 1
        return float(signs @ gram @ signs)

    assert sorted(spread(other) for other in balanced_splits(4)) == [52, 68, 80]
    assert spread(split) == 52
    first = principal_axes(gram, 1, centre="double").coordinates[:, 0]
    assert np.abs(first).sum() ** 2 > 52
    assert spread(swap_refined(split, gram)) == 80


def test_only_double_centring_finds_camps_behind_a_large_shared_gradient() -> None:
    # The first uncentred axis is the shared gradient, and in every row it is the largest feature: both rank tasks by
    # the noise along it.
    camps = Partition((tuple(range(6)), tuple(range(6, 12))))
    sketches = 0.3 * np.random.default_rng(0).standard_normal((12, 50))
    sketches[:, 0] += 20
    sketches[:, 1] += 2.0 * camps.labels - 1
    gram = gram_matrix(sketches)
    found = {
        centre: pca_partition(gram, 1, centre=centre, cut="count").matches(camps)
        for centre in ("none", "rows", "double")
    }
    assert found == {"none": False, "rows": False, "double": True}


@pytest.mark.parametrize(
    ("n_tasks", "options", "complaint"),
    [
        (7, {"depth": 3}, r"7 tasks cannot fill the 2\^3 = 8 groups"),
        (4, {"depth": 0}, "depth is 0"),
        (4, {"depth": 1, "cut": "samples"}, "needs the samples"),
        (4, {"depth": 1, "centre": "twice"}, "centre is 'twice'"),
    ],
)
def test_partitions_that_cannot_be_are_refused(n_tasks: int, options: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        pca_partition(np.eye(n_tasks), **{"centre": "double", "cut": "count", **options})


# --- swap refinement ---------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.sampled_from([(4, 2), (7, 3), (10, 2)]), seeds, st.booleans())
def test_swaps_end_where_no_exchange_helps_and_keep_sizes(shape: tuple[int, int], seed: int, indefinite: bool) -> None:
    rng = np.random.default_rng(seed)
    n_tasks, n_groups = shape
    matrix = gram_matrix(gradients(n_tasks, seed))
    if indefinite:
        matrix = rng.standard_normal((n_tasks, n_tasks))
        matrix = matrix + matrix.T
    start = random_partition(n_tasks, n_groups, rng, weights=rng.integers(1, 9, n_tasks))
    refined = swap_refined(start, matrix)
    reached = between_group_objective(refined, matrix)
    atol = 1e-10 * n_tasks * np.abs(matrix).max()
    assert reached >= between_group_objective(start, matrix) - atol
    assert [len(group) for group in refined.groups] == [len(group) for group in start.groups]
    for first, second in combinations(range(n_tasks), 2):
        labels = refined.labels
        labels[[first, second]] = labels[[second, first]]
        assert between_group_objective(Partition.from_labels(labels), matrix) <= reached + atol


@settings(deadline=None)
@given(seeds)
def test_the_first_swap_is_the_best_of_all(seed: int) -> None:
    # From one exchange away from two pure camps, the best exchange is the only one that restores them.
    order = np.random.default_rng(seed).permutation(8)
    camps = np.repeat([0, 1], 4)[order]
    matrix = (camps[:, None] == camps[None, :]).astype(float)
    labels = camps.copy()
    wrong = [np.flatnonzero(camps == group)[0] for group in (0, 1)]
    labels[wrong] = labels[wrong[::-1]]
    assert swap_refined(Partition.from_labels(labels), matrix) == Partition.from_labels(camps)


@settings(deadline=None)
@given(st.sampled_from([(6, 2), (9, 3), (10, 4)]), seeds)
def test_centring_shifts_the_objective_of_every_partition_by_the_same(shape: tuple[int, int], seed: int) -> None:
    gram = gram_matrix(gradients(shape[0], seed))
    double = centred(gram, "double")
    for draw in range(3):
        partition = random_partition(*shape, np.random.default_rng([seed, draw]))
        shift = between_group_objective(partition, gram) - between_group_objective(partition, double)
        assert shift == pytest.approx(gram.mean() * shape[0], abs=1e-12 * np.abs(gram).sum())


@settings(deadline=None)
@given(st.sampled_from([2, 6, 12]), seeds)
def test_objective_of_a_balanced_split_is_the_quadratic_form_of_its_signs(n_tasks: int, seed: int) -> None:
    gram = gram_matrix(gradients(n_tasks, seed))
    split = random_partition(n_tasks, 2, np.random.default_rng(seed))
    signs = 2.0 * split.labels - 1
    expected = n_tasks * between_group_objective(split, gram) - gram.sum()
    assert signs @ gram @ signs == pytest.approx(expected, abs=1e-12 * np.abs(gram).sum() * n_tasks)


@settings(deadline=None)
@given(seeds)
def test_objective_is_the_norm_of_the_group_sums(seed: int) -> None:
    sketches = gradients(9, seed)
    partition = random_partition(9, 3, np.random.default_rng(seed), weights=np.arange(1, 10))
    expected = sum(len(group) * (sketches[list(group)].mean(axis=0) ** 2).sum() for group in partition.groups)
    assert between_group_objective(partition, gram_matrix(sketches)) == pytest.approx(expected, rel=1e-10)


def test_objective_of_another_number_of_tasks_is_refused() -> None:
    with pytest.raises(ValueError, match="between 3 tasks, the partition of 2"):
        between_group_objective(Partition(((0,), (1,))), np.eye(3))
    with pytest.raises(ValueError, match="between 3 tasks, the partition of 2"):
        swap_refined(Partition(((0,), (1,))), np.eye(3))


# --- random and all splits ---------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.sampled_from([(1, 1), (4, 4), (7, 3), (10, 4), (66, 8)]), seeds)
def test_random_groups_of_equal_tasks_differ_by_one_at_most(shape: tuple[int, int], seed: int) -> None:
    sizes = [len(group) for group in random_partition(*shape, np.random.default_rng(seed)).groups]
    assert len(sizes) == shape[1]
    assert max(sizes) - min(sizes) <= 1


@settings(deadline=None)
@given(st.sampled_from([(4, 4), (7, 3), (12, 5), (30, 2)]), seeds)
def test_random_groups_are_never_empty_and_two_are_even_up_to_one_task(shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = 10 ** rng.uniform(0, 4, shape[0])
    partition = random_partition(*shape, rng, weights=weights)
    assert len(partition.groups) == shape[1]
    heavy, light = sorted((weights[list(group)].sum() for group in partition.groups[:2]), reverse=True)
    if shape[1] == 2:
        assert heavy - light <= weights.max() * (1 + 1e-12)


def test_after_a_heavy_task_the_other_groups_share_what_is_left() -> None:
    weights = np.array([1000.0, *np.ones(12)])
    for seed in range(20):
        partition = random_partition(13, 4, np.random.default_rng(seed), weights=weights)
        if partition.labels[0] == 0:
            assert min(len(group) for group in partition.groups[1:]) >= 3


def test_random_splits_are_uniform_over_all_balanced_ones() -> None:
    rng = np.random.default_rng(8)
    draws = Counter(random_partition(6, 2, rng).canonical() for _ in range(3000))
    assert set(draws) == set(balanced_splits(6))
    expected = 3000 / len(draws)
    assert sum((count - expected) ** 2 / expected for count in draws.values()) < 27.9  # 99.9 % of chi-squared, 9 d.f.


def test_a_random_partition_is_its_seed() -> None:
    first, again, other = (random_partition(20, 3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(("n_tasks", "n_groups"), [(3, 4), (3, 0)])
def test_more_groups_than_tasks_are_refused(n_tasks: int, n_groups: int) -> None:
    with pytest.raises(ValueError, match=f"{n_tasks} tasks cannot fill {n_groups} groups"):
        random_partition(n_tasks, n_groups, np.random.default_rng(0))


def test_weights_of_random_groups_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"task 2 weighs -1\.0"):
        random_partition(3, 2, np.random.default_rng(0), weights=[1.0, 1.0, -1.0])


@pytest.mark.parametrize("n_tasks", [2, 4, 8, 12])
def test_balanced_splits_are_all_and_each_once(n_tasks: int) -> None:
    splits = list(balanced_splits(n_tasks))
    assert len(splits) == len({split.canonical() for split in splits}) == comb(n_tasks, n_tasks // 2) // 2
    assert all(0 in split.groups[0] and len(split.groups[0]) == len(split.groups[1]) for split in splits)


def test_mean_over_balanced_splits_is_f10() -> None:
    gram = gram_matrix(gradients(8, seed=1))
    signs = np.array([2 * split.labels - 1 for split in balanced_splits(8)])
    mean = np.einsum("si,ij,sj->s", signs, gram, signs).mean()
    assert mean == pytest.approx(8 / 7 * np.trace(centred(gram, "double")), rel=1e-12)


@pytest.mark.parametrize("n_tasks", [0, 5])
def test_an_odd_number_has_no_balanced_split(n_tasks: int) -> None:
    with pytest.raises(ValueError, match="no balanced split"):
        next(balanced_splits(n_tasks))
