"""Both readings of the conflict-induced partition: by hand, by a slow rendering of the words, and their difference."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from merit_theory.conflict import cosine_similarity
from merit_theory.conflict_induced import conflict_induced_apart_partition, conflict_induced_partition
from merit_theory.partition import Partition, between_group_objective, random_partition

Floats = NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)
shapes = st.sampled_from([(4, 2), (7, 2), (9, 4), (11, 3), (12, 3)])


def cosines(n_tasks: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    return cosine_similarity(rng.standard_normal((n_tasks, 5)) + 0.5 * rng.standard_normal(5))


def worst_pair(matrix: Floats, tasks: set[int]) -> tuple[int, int]:
    return min(combinations(sorted(tasks), 2), key=lambda pair: matrix[pair])


def inside(matrix: Floats, group: list[int]) -> float:
    return float(np.mean([matrix[pair] for pair in combinations(group, 2)]))


def filled(matrix: Floats, groups: list[list[int]], score: object) -> list[list[int]]:
    """The rest of the greedy rule in plain loops."""
    n_tasks, n_groups = len(matrix), len(groups)
    while left := set(range(n_tasks)) - {task for group in groups for task in group}:
        full = sum(len(group) > n_tasks // n_groups for group in groups) >= n_tasks % n_groups
        limit = n_tasks // n_groups + (0 if full else 1)
        open_groups = [group for group in groups if len(group) < limit]
        task, group = min(
            ((task, group) for task in sorted(left) for group in open_groups), key=lambda pair: score(*pair)
        )
        group.append(task)
    return groups


@settings(deadline=None, max_examples=100)
@given(shapes, seeds)
def test_the_first_reading_starts_every_group_with_the_worst_pair_left(shape: tuple[int, int], seed: int) -> None:
    matrix = cosines(shape[0], seed)
    groups: list[list[int]] = []
    for _ in range(shape[1]):
        groups.append(list(worst_pair(matrix, set(range(shape[0])) - {task for group in groups for task in group})))
    expected = filled(matrix, groups, lambda task, group: inside(matrix, [*group, task]))
    assert conflict_induced_partition(matrix, shape[1]).groups == tuple(tuple(sorted(group)) for group in expected)


@settings(deadline=None, max_examples=100)
@given(shapes, seeds)
def test_the_second_reading_parts_the_worst_pair(shape: tuple[int, int], seed: int) -> None:
    matrix = cosines(shape[0], seed)
    groups = [[task] for task in worst_pair(matrix, set(range(shape[0])))]
    while len(groups) < shape[1]:
        seeds_so_far = [group[0] for group in groups]
        left = set(range(shape[0])) - set(seeds_so_far)
        groups.append([min(left, key=lambda task: matrix[task, seeds_so_far].mean())])
    expected = filled(matrix, groups, lambda task, group: matrix[task, group].mean())
    assert conflict_induced_apart_partition(matrix, shape[1]).groups == tuple(
        tuple(sorted(group)) for group in expected
    )


@settings(deadline=None, max_examples=50)
@given(shapes, seeds)
def test_the_readings_differ_in_the_worst_pair_and_agree_in_sizes(shape: tuple[int, int], seed: int) -> None:
    matrix = cosines(shape[0], seed)
    one, other = worst_pair(matrix, set(range(shape[0])))
    together, apart = conflict_induced_partition(matrix, shape[1]), conflict_induced_apart_partition(matrix, shape[1])
    assert together.labels[one] == together.labels[other] == 0
    assert apart.labels[one] != apart.labels[other]
    for partition in (together, apart):
        assert np.ptp([len(group) for group in partition.groups]) <= 1


@pytest.mark.parametrize("divide", [conflict_induced_partition, conflict_induced_apart_partition])
def test_groups_disagree_inside_more_than_random_ones(divide: object) -> None:
    for seed in range(10):
        matrix = cosines(24, seed)
        found: Partition = divide(matrix, 4)
        rng = np.random.default_rng(seed)
        random = [between_group_objective(random_partition(24, 4, rng), matrix) for _ in range(50)]
        assert between_group_objective(found, matrix) < np.quantile(random, 0.1)


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_camps_are_spread_evenly_over_the_groups(seed: int) -> None:
    camps = np.random.default_rng(seed).permutation(np.repeat([0, 1], 6))
    matrix = np.where(camps[:, None] == camps[None, :], 1.0, -1.0)
    for divide in (conflict_induced_partition, conflict_induced_apart_partition):
        assert all(camps[list(group)].sum() == 2 for group in divide(matrix, 3).groups)


def test_groups_that_cannot_be_started_are_refused() -> None:
    with pytest.raises(ValueError, match="5 tasks have no pair for each of 3 groups"):
        conflict_induced_partition(np.eye(5), 3)
    for n_groups in (1, 6):
        with pytest.raises(ValueError, match=f"5 tasks cannot start {n_groups} groups apart"):
            conflict_induced_apart_partition(np.eye(5), n_groups)
    assert len(conflict_induced_apart_partition(np.eye(5), 5).groups) == 5
