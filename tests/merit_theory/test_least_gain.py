"""The worst partition against enumeration, and where partitions stand among random ones."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from merit_theory.conflict import centred, gram_matrix
from merit_theory.group_search import equal_partitions
from merit_theory.least_gain import least_gain_partition
from merit_theory.partition import Partition, between_group_objective, random_partition, swap_refined
from merit_theory.random_standing import random_standing

Floats = NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)


def gram(n_tasks: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    return gram_matrix(rng.standard_t(3, (n_tasks, 6)) + rng.standard_normal(6))


@pytest.mark.parametrize(("n_tasks", "n_groups"), [(6, 3), (8, 4), (10, 2)])
def test_the_worst_partition_is_that_of_enumeration(n_tasks: int, n_groups: int) -> None:
    everything = [Partition.from_labels(labels) for labels in equal_partitions(n_tasks, n_groups)]
    for seed in range(8):
        matrix = centred(gram(n_tasks, seed), "double")
        found = least_gain_partition(gram(n_tasks, seed), n_groups, np.random.default_rng(seed))
        assert {len(group) for group in found.groups} == {n_tasks // n_groups}
        lowest = min(between_group_objective(partition, matrix) for partition in everything)
        assert between_group_objective(found, matrix) == pytest.approx(lowest, abs=1e-9 * np.trace(matrix))


def test_the_worst_partition_is_its_seed_and_blind_to_a_shared_gradient() -> None:
    rows = np.random.default_rng(0).standard_normal((11, 6))
    first, again, shifted = (
        least_gain_partition(gram_matrix(rows + shift), 3, np.random.default_rng(4)) for shift in (0.0, 0.0, 3.0)
    )
    assert first == again == shifted


# --- standing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1, 5), (1, 2, 3), (2, 2, 2)])
def test_the_mean_over_all_partitions_of_these_sizes_is_the_formula(sizes: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    every = [Partition.from_labels(order) for order in set(permutations(labels.tolist()))]
    for seed in range(3):
        matrix = centred(gram(6, seed), "double")
        values = [between_group_objective(partition, matrix) for partition in every]
        standing = random_standing(Partition.from_labels(labels), gram(6, seed), draws=1, rng=np.random.default_rng(0))
        assert standing.random_mean == pytest.approx(np.mean(values), rel=1e-9)


@settings(deadline=None, max_examples=30)
@given(seeds, st.sampled_from([(9, 2), (9, 4), (12, 3)]))
def test_a_standing_holds_its_own_objective_and_a_random_partition_stands_anywhere(
    seed: int, shape: tuple[int, int]
) -> None:
    matrix, rng = gram(shape[0], seed), np.random.default_rng(seed)
    partition = random_partition(*shape, rng, weights=rng.integers(1, 5, shape[0]))
    standing = random_standing(partition, matrix, draws=20, rng=rng)
    expected = between_group_objective(partition, centred(matrix, "double"))
    assert standing.objective == pytest.approx(expected, abs=1e-9 * np.trace(matrix))
    assert 1 <= standing.rank <= 21


def test_ranks_of_random_partitions_are_uniform_and_those_of_found_ones_extreme() -> None:
    matrix = gram(20, 5)
    rng = np.random.default_rng(0)
    ranks = [random_standing(random_partition(20, 2, rng), matrix, draws=99, rng=rng).rank for _ in range(300)]
    assert 45 < np.mean(ranks) < 56
    assert 26 < np.std(ranks) < 32
    best = swap_refined(random_partition(20, 2, rng), matrix)
    assert random_standing(best, matrix, draws=99, rng=rng).rank == 1
    assert random_standing(least_gain_partition(matrix, 2, rng), matrix, draws=99, rng=rng).rank == 100


def test_a_standing_of_other_tasks_or_of_no_draws_is_refused() -> None:
    rng = np.random.default_rng(0)
    for partition, draws in ((Partition(((0,), (1,))), 5), (Partition(((0,), (1, 2))), 0)):
        with pytest.raises(ValueError, match="expected the same"):
            random_standing(partition, np.eye(3), draws=draws, rng=rng)
