"""Laws of k-means on gradients, free and balanced: distances against the gradients, optima against enumeration."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from merit_theory.balanced_kmeans import balanced_descent, balanced_kmeans_partition, even_assignment
from merit_theory.conflict import cosine_similarity, gram_matrix
from merit_theory.kmeans_partition import euclidean_embedding, kmeans_partition
from merit_theory.partition import Partition, between_group_objective, random_partition

Floats = NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)


def gradients(n_tasks: int, seed: int) -> Floats:
    """Task gradients [n_tasks, 6] with a shared mean and heavy tails."""
    rng = np.random.default_rng(seed)
    return rng.standard_t(3, (n_tasks, 6)) + rng.standard_normal(6)


def all_partitions(n_tasks: int, n_groups: int, *, even: bool) -> list[Partition]:
    """Every partition into K groups, each once, groups numbered by their first task."""
    labels: list[list[int]] = [[]]
    for _ in range(n_tasks):
        labels = [[*some, group] for some in labels for group in range(min(max(some, default=-1) + 2, n_groups))]
    found = [Partition.from_labels(choice) for choice in labels if max(choice) == n_groups - 1]
    return [partition for partition in found if not even or np.ptp(sizes(partition)) <= 1]


def sizes(partition: Partition) -> list[int]:
    return sorted(len(group) for group in partition.groups)


# --- embedding --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.sampled_from([2, 5, 12]), seeds, st.sampled_from([gram_matrix, cosine_similarity]))
def test_embedded_points_have_the_distances_of_the_gradients(n_tasks: int, seed: int, matrix_of: object) -> None:
    rows = gradients(n_tasks, seed)
    if matrix_of is cosine_similarity:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    points = euclidean_embedding(gram_matrix(rows))
    assert points.shape[1] <= min(n_tasks - 1, 6)
    expected = ((rows[:, None] - rows[None, :]) ** 2).sum(axis=2)
    found = ((points[:, None] - points[None, :]) ** 2).sum(axis=2)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * (rows**2).sum())


def test_a_matrix_that_no_gradients_have_is_refused() -> None:
    with pytest.raises(ValueError, match="no gradients have such inner products"):
        euclidean_embedding([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])


# --- k-means ----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=8)
@given(seeds)
def test_kmeans_finds_separate_clusters_of_any_size(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation([0, 1, 1, 2, 2, 2, 2, 2])
    rows = 5 * np.eye(3, 9)[labels] + rng.standard_normal(9) + 0.1 * rng.standard_normal((8, 9))
    assert kmeans_partition(gram_matrix(rows), 3, rng) == Partition.from_labels(labels).canonical()


@pytest.mark.parametrize("n_groups", [2, 3])
def test_kmeans_comes_close_to_the_optimum_over_all_partitions(n_groups: int) -> None:
    everything = all_partitions(7, n_groups, even=False)
    shares = []
    for seed in range(6):
        matrix = cosine_similarity(gradients(7, seed))
        best = max(between_group_objective(partition, matrix) for partition in everything)
        shares.append(
            between_group_objective(kmeans_partition(matrix, n_groups, np.random.default_rng(0)), matrix) / best
        )
    assert max(shares) <= 1 + 1e-12
    assert min(shares) > 0.97


@pytest.mark.parametrize("divide", [kmeans_partition, balanced_kmeans_partition])
@pytest.mark.parametrize(("n_tasks", "n_groups"), [(5, 4), (6, 6), (4, 1), (5, 3)])
def test_no_group_is_empty_even_among_equal_gradients(divide: object, n_tasks: int, n_groups: int) -> None:
    rows = np.eye(2, 4)[np.arange(n_tasks) % 2]
    partition = divide(gram_matrix(rows), n_groups, np.random.default_rng(0))
    assert len(partition.groups) == n_groups
    assert partition.n_tasks == n_tasks


@pytest.mark.parametrize("divide", [kmeans_partition, balanced_kmeans_partition])
def test_a_search_is_its_seed_and_blind_to_a_shared_gradient(divide: object) -> None:
    rows = gradients(11, 3)
    first, again = (divide(gram_matrix(rows), 3, np.random.default_rng(9)) for _ in range(2))
    assert first == again == divide(gram_matrix(rows + 4.0), 3, np.random.default_rng(9))


@pytest.mark.parametrize("divide", [kmeans_partition, balanced_kmeans_partition])
@pytest.mark.parametrize("n_groups", [0, 4])
def test_more_groups_than_tasks_are_refused(divide: object, n_groups: int) -> None:
    with pytest.raises(ValueError, match=f"3 tasks cannot fill {n_groups} groups"):
        divide(np.eye(3), n_groups, np.random.default_rng(0))


# --- balanced k-means -------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([(6, 2), (6, 4), (5, 2), (7, 3), (4, 4)]), seeds)
def test_the_even_assignment_is_the_cheapest_of_all(shape: tuple[int, int], seed: int) -> None:
    costs = np.random.default_rng(seed).standard_normal(shape)
    labels = even_assignment(costs)
    counts = np.bincount(labels, minlength=shape[1])
    assert np.ptp(counts) <= 1

    def cost(choice: tuple[int, ...]) -> float:
        return costs[np.arange(shape[0]), list(choice)].sum()

    even = [
        choice
        for choice in product(range(shape[1]), repeat=shape[0])
        if np.ptp(np.bincount(choice, minlength=shape[1])) <= 1
    ]
    assert cost(tuple(labels)) == pytest.approx(min(map(cost, even)), abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.sampled_from([(8, 2), (11, 3), (30, 4)]), seeds)
def test_a_balanced_descent_never_raises_the_distances_within_groups(shape: tuple[int, int], seed: int) -> None:
    matrix = gram_matrix(gradients(shape[0], seed))
    start = random_partition(*shape, np.random.default_rng(seed))
    path = list(balanced_descent(euclidean_embedding(matrix), start))
    assert path[0] == start
    # Distances within groups are those to the common mean less what is between groups.
    values = [between_group_objective(partition, matrix) for partition in path]
    assert all(later > earlier for earlier, later in pairwise(values))
    assert all(np.ptp(sizes(partition)) <= 1 for partition in path)


def test_a_descent_goes_somewhere() -> None:
    matrix = gram_matrix(np.random.default_rng(0).standard_normal((30, 4)))
    starts = [random_partition(30, 3, np.random.default_rng(seed)) for seed in range(10)]
    assert min(len(list(balanced_descent(euclidean_embedding(matrix), start))) for start in starts) > 2


@pytest.mark.parametrize(("n_tasks", "n_groups"), [(8, 2), (7, 3), (8, 4)])
def test_balanced_kmeans_finds_the_best_even_partition_nearly_always(n_tasks: int, n_groups: int) -> None:
    everything = all_partitions(n_tasks, n_groups, even=True)
    shares = []
    for seed in range(12):
        matrix = euclidean_embedding(cosine_similarity(gradients(n_tasks, seed)))
        matrix = matrix @ matrix.T
        found = balanced_kmeans_partition(matrix, n_groups, np.random.default_rng(seed))
        assert np.ptp(sizes(found)) <= 1
        best = max(between_group_objective(partition, matrix) for partition in everything)
        shares.append(between_group_objective(found, matrix) / best)
    assert max(shares) <= 1 + 1e-12
    assert sum(share > 1 - 1e-12 for share in shares) >= 11
