"""Every partition of a few tasks into K groups of equal size, and the between-group value of each."""

from collections.abc import Iterator
from math import factorial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpy.typing import NDArray

from merit_theory.split_gain import as_task_matrix, double_centred

MOST_PARTITIONS = 200_000


def count_equal_partitions(n_tasks: int, n_groups: int) -> int:
    """Number of partitions into K groups of n = N/K tasks, N!/(n!ᴷ K!).

    >>> [count_equal_partitions(*shape) for shape in ((6, 3), (8, 4), (9, 3))]
    [15, 105, 280]
    """
    if n_groups < 1 or n_tasks < n_groups or n_tasks % n_groups:
        raise ValueError(f"{n_tasks} tasks do not divide into {n_groups} groups of equal size")
    return factorial(n_tasks) // (factorial(n_tasks // n_groups) ** n_groups * factorial(n_groups))


def equal_partitions(n_tasks: int, n_groups: int) -> NDArray[np.int8]:
    """Labels of all partitions into K groups of equal size, each once, groups numbered by their first task.

    Args:
        n_tasks: N, a multiple of ``n_groups``; at most 200,000 partitions.
        n_groups: K.

    Returns:
        int8 [m, n_tasks] in lexicographic order.

    >>> equal_partitions(4, 2).tolist()
    [[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]]
    """
    total = count_equal_partitions(n_tasks, n_groups)
    if total > MOST_PARTITIONS:
        raise ValueError(
            f"{n_tasks} tasks have {total} partitions into {n_groups} equal groups, too many to list; draw random ones"
        )
    room = [n_tasks // n_groups] * n_groups
    labels: list[int] = []

    def complete() -> Iterator[list[int]]:
        if len(labels) == n_tasks:
            yield labels
            return
        opened = max(labels, default=-1) + 1
        for group in range(min(opened + 1, n_groups)):
            if room[group]:
                room[group] -= 1
                labels.append(group)
                yield from complete()
                labels.pop()
                room[group] += 1

    return np.fromiter((tuple(found) for found in complete()), dtype=(np.int8, n_tasks), count=total)


def between_group_forms(matrix: ArrayLike, labels: ArrayLike, n_groups: int) -> Float[Array, " m"]:
    """Σ_k 1_kᵀPMP1_k/n_k for many partitions: `partition.between_group_objective` of the centred task matrix.

    The gain of a partition whose branches are merged in proportion to their tasks is step²/(2N) times this value; for
    two equal groups the value is sᵀMs/N.

    Args:
        matrix: float [n, n], the task matrix M.
        labels: int [m, n], group of every task in every partition, no group empty.
        n_groups: K.

    >>> between_group_forms([[4.0, -4.0], [-4.0, 4.0]], [[0, 1]], 2).tolist()
    [8.0]
    """
    centred = double_centred(as_task_matrix(matrix))
    groups = jnp.asarray(labels)
    if groups.ndim != 2 or groups.shape[1] != len(centred):
        raise ValueError(f"labels have shape {groups.shape}; expected one column for each of {len(centred)} tasks")
    members = jax.nn.one_hot(groups, n_groups, dtype=centred.dtype)
    return (jnp.einsum("mik,ij,mjk->mk", members, centred, members) / members.sum(axis=1)).sum(axis=1)
