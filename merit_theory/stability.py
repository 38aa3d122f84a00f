"""Stability of a partition: what resampling the micro-batches, or another centring, would have done to it.

Splits of noisy gradients are fragile: tasks near a cut change sides when the examples do. A partition is reported
together with how often each of its tasks flips. All rules are put to the same draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from merit_theory.conflict import Centre, check_micro_batches
from merit_theory.partition import Partition

COLUMN_BLOCK = 4096


@dataclass(frozen=True, slots=True, eq=False)
class SplitStability:
    """How a partition fares under the bootstrap.

    Attributes:
        flip_probability: float64 [n_tasks], share of draws in which a task is outside its group of the reference.
        same_partition: share of draws that give the reference again, up to the order of groups.
        mean_adjusted_rand: mean adjusted Rand index between the draws and the reference; 0 is chance, 1 is equal.
    """

    flip_probability: NDArray[np.float64]
    same_partition: float
    mean_adjusted_rand: float


def split_stability(reference: Partition, resampled: Sequence[Partition]) -> SplitStability:
    """How often resampled data give a partition again.

    Args:
        reference: the partition of the data as they are.
        resampled: what the same rule gives for each draw of the bootstrap, see `resampled_grams`; at least one.

    Returns:
        The stability of the reference.

    >>> draws = [Partition(((0, 1), (2,))), Partition(((0,), (1, 2)))]
    >>> split_stability(Partition(((2,), (0, 1))), draws).flip_probability.tolist()
    [0.0, 0.5, 0.0]
    """
    if not resampled:
        raise ValueError("no resampled partition to compare with; the bootstrap needs at least one draw")
    return SplitStability(
        np.mean([flipped(reference, other) for other in resampled], axis=0),
        sum(reference.matches(other) for other in resampled) / len(resampled),
        sum(adjusted_rand_index(reference, other) for other in resampled) / len(resampled),
    )


def resampled_grams(
    sums: Sequence[NDArray[np.floating]], counts: Sequence[ArrayLike], *, draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Gram matrices of the bootstrap: micro-batches are drawn anew with replacement within each task.

    Inner products of micro-batches are computed once; a draw weighs them by how often each micro-batch was drawn. Time
    O((Σm)² (k + draws)), memory 8 (Σm)² bytes, one block of columns in float64 and the result.

    Args:
        sums: per task float [m, k], gradient sketch sums of the micro-batches.
        counts: per task [m], answer tokens of the micro-batches, positive.
        draws: number of bootstrap draws.
        rng: the only source of randomness.

    Returns:
        float64 [draws, n_tasks, n_tasks], inner products of mean gradients per answer token.

    >>> sums = [np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 2.0], [2.0, 0.0]])]
    >>> grams = resampled_grams(sums, [[1, 1], [1, 1]], draws=50, rng=np.random.default_rng(0))
    >>> np.unique(grams[:, 0, 1]).tolist()
    [0.0, 1.0, 2.0]
    """
    if draws < 1:
        raise ValueError(f"{draws} draws; the bootstrap needs at least one")
    check_micro_batches(sums, counts)
    batches_per_task = [len(task_sums) for task_sums in sums]
    products = _microbatch_products(sums)
    tokens = np.concatenate([np.asarray(task_counts, dtype=np.float64) for task_counts in counts])
    starts = np.concatenate([[0], np.cumsum(batches_per_task[:-1])])
    grams = np.empty((draws, len(sums), len(sums)))
    for draw in grams:
        drawn = np.concatenate([rng.multinomial(size, np.full(size, 1 / size)) for size in batches_per_task])
        rows = np.add.reduceat(drawn[:, None] * products, starts, axis=0)
        task_tokens = np.add.reduceat(drawn * tokens, starts)
        draw[:] = np.add.reduceat(drawn[None, :] * rows, starts, axis=1) / np.outer(task_tokens, task_tokens)
    return grams


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


def centring_agreement(partition_of: Callable[[Centre], Partition]) -> dict[tuple[Centre, Centre], float]:
    """Adjusted Rand index between the partitions that a rule gives under each two of the three centrings.

    Args:
        partition_of: the rule under test, from a centring to a partition, for example
            ``lambda centre: pca_partition(cosine, 1, centre=centre, ...)``.

    Returns:
        One index for every pair of centrings.

    >>> from merit_theory.partition import pca_partition
    >>> opposite = [[2.0, -2.0], [-2.0, 2.0]]
    >>> agreement = centring_agreement(lambda centre: pca_partition(opposite, 1, centre=centre, cut="count"))
    >>> agreement["none", "double"]
    1.0
    """
    partitions = {centre: partition_of(centre) for centre in get_args(Centre)}
    return {
        (one, other): adjusted_rand_index(partitions[one], partitions[other])
        for one, other in combinations(partitions, 2)
    }
