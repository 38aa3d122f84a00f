"""Stability of a partition: what resampling the micro-batches, or another centring, would have done to it.

Splits of noisy gradients are fragile: tasks near a cut change sides when the examples do. A partition is reported
together with how often each of its tasks flips.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from merit_theory.conflict import Centre, check_micro_batches
from merit_theory.partition import Cut, Partition, Refine, pca_partition

COLUMN_BLOCK = 4096


@dataclass(frozen=True, slots=True, eq=False)
class SplitStability:
    """How a partition fares under the bootstrap.

    Attributes:
        reference: the partition of all micro-batches.
        flip_probability: float64 [n_tasks], share of draws in which a task is outside its group of the reference.
        same_partition: share of draws that give the reference again, up to the order of groups.
        mean_adjusted_rand: mean adjusted Rand index between the draws and the reference; 0 is chance, 1 is equal.
        draws: number of bootstrap draws.
    """

    reference: Partition
    flip_probability: NDArray[np.float64]
    same_partition: float
    mean_adjusted_rand: float
    draws: int


def split_stability(
    sums: Sequence[NDArray[np.floating]],
    counts: Sequence[ArrayLike],
    partition_of: Callable[[NDArray[np.float64]], Partition],
    *,
    draws: int,
    rng: np.random.Generator,
) -> SplitStability:
    """Bootstrap of a partition: micro-batches are drawn anew with replacement within each task.

    Inner products of micro-batches are computed once; a draw weighs them by how often each micro-batch was drawn. Time
    O((Σm)² (k + draws)), memory 8 (Σm)² bytes and one block of columns in float64.

    Args:
        sums: per task float [m, k], gradient sketch sums of the micro-batches.
        counts: per task [m], answer tokens of the micro-batches, positive.
        partition_of: the rule under test, from the Gram matrix [n_tasks, n_tasks] of mean gradients per answer token to
            a partition, for example ``lambda gram: pca_partition(cosine_from_gram(gram), 1, ...)``.
        draws: number of bootstrap draws.
        rng: the only source of randomness.

    Returns:
        The partition of all micro-batches and its stability.

    >>> sums = [np.array([[1.0, 0.0], [1.0, 0.1]]), np.array([[0.0, 1.0], [0.1, 1.0]])]
    >>> both_apart = lambda gram: Partition(((0,), (1,)))
    >>> stability = split_stability(sums, [[1, 1], [1, 1]], both_apart, draws=10, rng=np.random.default_rng(0))
    >>> stability.same_partition, stability.flip_probability.tolist()
    (1.0, [0.0, 0.0])
    """
    if draws < 1:
        raise ValueError(f"{draws} draws; the bootstrap needs at least one")
    check_micro_batches(sums, counts)
    batches_per_task = [len(task_sums) for task_sums in sums]
    products = _microbatch_products(sums)
    tokens = np.concatenate([np.asarray(task_counts, dtype=np.float64) for task_counts in counts])
    starts = np.concatenate([[0], np.cumsum(batches_per_task[:-1])])

    def gram_of(multiplicities: NDArray[np.int64]) -> NDArray[np.float64]:
        rows = np.add.reduceat(multiplicities[:, None] * products, starts, axis=0)
        gram = np.add.reduceat(multiplicities[None, :] * rows, starts, axis=1)
        task_tokens = np.add.reduceat(multiplicities * tokens, starts)
        return gram / np.outer(task_tokens, task_tokens)

    reference = partition_of(gram_of(np.ones(len(tokens), dtype=np.int64)))
    flips = np.zeros(reference.n_tasks)
    same = 0
    rand = 0.0
    for _ in range(draws):
        drawn = [rng.multinomial(size, np.full(size, 1 / size)) for size in batches_per_task]
        resampled = partition_of(gram_of(np.concatenate(drawn)))
        flips += flipped(reference, resampled)
        same += reference.matches(resampled)
        rand += adjusted_rand_index(reference, resampled)
    return SplitStability(reference, flips / draws, same / draws, rand / draws, draws)


def _microbatch_products(sums: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Inner products of all micro-batches, float64 [Σm, Σm]; the sketches are raised to float64 a block at a time."""
    n_batches = sum(len(task_sums) for task_sums in sums)
    products = np.zeros((n_batches, n_batches))
    for start in range(0, sums[0].shape[1], COLUMN_BLOCK):
        block = np.concatenate([task_sums[:, start : start + COLUMN_BLOCK] for task_sums in sums]).astype(np.float64)
        products += block @ block.T
    return products


def flipped(reference: Partition, other: Partition) -> NDArray[np.bool_]:
    """Tasks that another partition of the same tasks puts outside their group of the reference.

    Groups carry no names across partitions, so they are first paired one to one with the largest total overlap.

    Args:
        reference: the partition whose groups count.
        other: the partition compared with it.

    Returns:
        bool [n_tasks].

    >>> flipped(Partition(((0, 1, 2), (3, 4))), Partition(((3, 4, 0), (1, 2)))).tolist()
    [True, False, False, False, False]
    """
    overlap = _overlap(reference, other)
    paired, partners = linear_sum_assignment(overlap, maximize=True)
    partner_of = np.full(len(overlap), -1)
    partner_of[paired] = partners
    return partner_of[reference.labels] != other.labels


def adjusted_rand_index(first: Partition, second: Partition) -> float:
    """Agreement of two partitions about pairs of tasks, corrected for chance (Hubert and Arabie 1985).

    Args:
        first: one partition.
        second: another of the same tasks.

    Returns:
        1 for equal partitions, 0 in expectation for independent ones with these group sizes; it can be negative.

    >>> adjusted_rand_index(Partition(((0, 1), (2, 3))), Partition(((2, 3), (0, 1))))
    1.0
    >>> adjusted_rand_index(Partition(((0, 1), (2, 3))), Partition(((0, 2), (1, 3))))
    -0.5
    """
    overlap = _overlap(first, second)
    together, in_first, in_second, pairs = (
        float((sizes * (sizes - 1)).sum() / 2)
        for sizes in (overlap, overlap.sum(axis=1), overlap.sum(axis=0), overlap.sum())
    )
    above_chance = together * pairs - in_first * in_second
    most_above_chance = (in_first + in_second) / 2 * pairs - in_first * in_second
    # There is no room above chance only where both are one group, or both all singletons: the same partition.
    return above_chance / most_above_chance if most_above_chance else 1.0


def _overlap(first: Partition, second: Partition) -> NDArray[np.float64]:
    """Number of tasks that each pair of groups has in common; float64 [groups of first, groups of second]."""
    if first.n_tasks != second.n_tasks:
        raise ValueError(f"partitions are of {first.n_tasks} and of {second.n_tasks} tasks; expected the same tasks")
    return first.indicators.T @ second.indicators


def centring_agreement(
    matrix: ArrayLike, depth: int, *, cut: Cut, weights: ArrayLike | None = None, refine: Refine = "none"
) -> dict[tuple[Centre, Centre], float]:
    """Adjusted Rand index between the PCA partitions under each two of the three centrings.

    Args:
        matrix: float [n_tasks, n_tasks], symmetric.
        depth: levels of the partition, which has 2^depth groups.
        cut: where groups are cut.
        weights: positive float [n_tasks], for a cut by samples or tokens.
        refine: refinement of each partition.

    Returns:
        One index for every pair of centrings.

    >>> agreement = centring_agreement([[2.0, -2.0], [-2.0, 2.0]], 1, cut="count")
    >>> agreement["none", "double"]
    1.0
    """
    partitions = {
        centre: pca_partition(matrix, depth, centre=centre, cut=cut, weights=weights, refine=refine)
        for centre in get_args(Centre)
    }
    return {
        (one, other): adjusted_rand_index(partitions[one], partitions[other])
        for one, other in combinations(partitions, 2)
    }
