"""Groups made to disagree inside: two readings of the conflict-induced greedy partition that the paper compares with.

The paper says no more than that the partition starts from the most conflicting pair and then assigns each task so that
the average cosine within groups stays low. Either that pair starts one group together, or its tasks start two groups.
Both build groups of tasks that conflict with each other, the opposite of k-means; they differ in the worst pair itself,
which the first reading keeps in one group and the second parts. Sizes differ by one at most in both.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from merit_theory.conflict import as_symmetric
from merit_theory.partition import Partition

Floats = NDArray[np.float64]


def conflict_induced_partition(cosine: ArrayLike, n_groups: int) -> Partition:
    """First reading: every group starts with the most conflicting pair among the tasks that are left.

    Then, one at a time, the task and the group with room are joined whose average cosine over all pairs inside is the
    lowest; of equal ones the first task, then the first group.

    Args:
        cosine: float [n_tasks, n_tasks], symmetric.
        n_groups: number of groups K, 2K ≤ N.

    Returns:
        Groups in the order of their pairs, the worst pair first.

    >>> cosine = [[1.0, -0.9, 0.8, 0.1], [-0.9, 1.0, 0.2, 0.7], [0.8, 0.2, 1.0, -0.3], [0.1, 0.7, -0.3, 1.0]]
    >>> conflict_induced_partition(cosine, 2).groups
    ((0, 1), (2, 3))
    """
    cosines = as_symmetric(cosine)
    n_tasks = len(cosines)
    if n_groups < 1 or n_tasks < 2 * n_groups:
        raise ValueError(f"{n_tasks} tasks have no pair for each of {n_groups} groups")
    apart = np.where(np.eye(n_tasks, dtype=bool), np.inf, cosines)
    starts = []
    for _ in range(n_groups):
        pair = _lowest(apart)
        starts.append(pair)
        apart[list(pair), :] = apart[:, list(pair)] = np.inf

    def average_inside(to_members: Floats, inside: Floats, sizes: Floats) -> Floats:
        return (inside + to_members) / (sizes * (sizes + 1) / 2)

    return _filled(cosines, starts, average_inside)


def conflict_induced_apart_partition(cosine: ArrayLike, n_groups: int) -> Partition:
    """Second reading: the most conflicting pair are the first tasks of two groups.

    Each further group starts with the task whose average cosine with the first tasks so far is the lowest. Then, one at
    a time, the task and the group with room are joined where the average cosine between the task and the group's
    members is the lowest; of equal ones the first task, then the first group.

    Args:
        cosine: float [n_tasks, n_tasks], symmetric.
        n_groups: number of groups K, 2 ≤ K ≤ N.

    Returns:
        Groups in the order of their first tasks.

    >>> cosine = [[1.0, -0.9, 0.8, 0.1], [-0.9, 1.0, 0.2, 0.7], [0.8, 0.2, 1.0, -0.3], [0.1, 0.7, -0.3, 1.0]]
    >>> conflict_induced_apart_partition(cosine, 2).groups
    ((0, 3), (1, 2))
    """
    cosines = as_symmetric(cosine)
    n_tasks = len(cosines)
    if not 2 <= n_groups <= n_tasks:
        raise ValueError(f"{n_tasks} tasks cannot start {n_groups} groups apart; expected 2 ≤ groups ≤ tasks")
    chosen = list(_lowest(np.where(np.eye(n_tasks, dtype=bool), np.inf, cosines)))
    while len(chosen) < n_groups:
        average = cosines[:, chosen].mean(axis=1)
        average[chosen] = np.inf
        chosen.append(int(np.argmin(average)))

    def average_to_members(to_members: Floats, _: Floats, sizes: Floats) -> Floats:
        return to_members / sizes

    return _filled(cosines, [(task,) for task in chosen], average_to_members)


def _lowest(table: Floats) -> tuple[int, int]:
    """Row and column of the lowest entry, the first of equal ones."""
    row, column = np.unravel_index(np.argmin(table), table.shape)
    return int(row), int(column)


def _filled(
    cosines: Floats, starts: Sequence[Sequence[int]], score: Callable[[Floats, Floats, Floats], Floats]
) -> Partition:
    """Add the other tasks to the groups that were started, always the task and group of lowest score.

    ``score`` is given each task's sum of cosines with the members of each group [n_tasks, n_groups], and per group the
    sum of cosines over pairs inside and the size [n_groups].
    """
    n_tasks, n_groups = len(cosines), len(starts)
    size, larger = divmod(n_tasks, n_groups)
    groups: list[list[int]] = [[] for _ in starts]
    free = np.ones(n_tasks, dtype=bool)
    to_members, inside, sizes = np.zeros((n_tasks, n_groups)), np.zeros(n_groups), np.zeros(n_groups)

    def add(task: int, group: int) -> None:
        groups[group].append(task)
        free[task] = False
        inside[group] += to_members[task, group]
        to_members[:, group] += cosines[:, task]
        sizes[group] += 1

    for group, start in enumerate(starts):
        for task in start:
            add(task, group)
    while free.any():
        room = sizes < (size + 1 if (sizes > size).sum() < larger else size)
        allowed = free[:, None] & room[None, :]
        add(*_lowest(np.where(allowed, score(to_members, inside, sizes), np.inf)))
    return Partition(tuple(tuple(sorted(group)) for group in groups))
