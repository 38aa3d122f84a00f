"""Partitions of tasks into groups, one branch each: by recursive cuts along principal axes, at random, or all of them.

The rule of the paper (Algorithm 1): level l splits every group along coordinate l of one global PCA, at the median
weighed by training samples, so r axes give 2^r groups. What the paper leaves open is named here: centring, and weights
of the cut. Swaps improve a partition of any rule on a matrix of their own. No rule ever leaves a group empty.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from merit_theory.conflict import Centre, as_symmetric, principal_axes

Cut = Literal["sign", "count", "samples", "tokens"]


@dataclass(frozen=True, slots=True)
class Partition:
    """Tasks 0 … N-1 divided into K non-empty groups; the order of the groups names the branches.

    >>> Partition(((0, 3), (1, 2))).labels.tolist()
    [0, 1, 1, 0]
    """

    groups: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.groups:
            raise ValueError("a partition needs at least one group")
        for index, group in enumerate(self.groups):
            if not group:
                raise ValueError(f"group {index} is empty")
        tasks = sorted(chain.from_iterable(self.groups))
        if tasks != list(range(len(tasks))):
            raise ValueError(f"groups hold the tasks {tasks}; expected each of 0 … {len(tasks) - 1} exactly once")

    @classmethod
    def from_labels(cls, labels: ArrayLike) -> "Partition":
        """Partition with one group per distinct label, in ascending order of label.

        >>> Partition.from_labels([5, 2, 5]).groups
        ((1,), (0, 2))
        """
        values, positions = np.unique(np.asarray(labels), return_inverse=True)
        return cls(tuple(tuple(np.flatnonzero(positions == group).tolist()) for group in range(len(values))))

    @property
    def n_tasks(self) -> int:
        """Number of tasks N."""
        return sum(len(group) for group in self.groups)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Group of every task; int64 [n_tasks]."""
        labels = np.empty(self.n_tasks, dtype=np.int64)
        for index, group in enumerate(self.groups):
            labels[list(group)] = index
        return labels

    @property
    def indicators(self) -> NDArray[np.float64]:
        """Membership of every task in every group, zero or one; float64 [n_tasks, n_groups]."""
        return np.eye(len(self.groups))[self.labels]

    def canonical(self) -> "Partition":
        """The same division with tasks ascending in each group and groups ordered by their first task."""
        return Partition(tuple(sorted(tuple(sorted(group)) for group in self.groups)))

    def matches(self, other: "Partition") -> bool:
        """Whether both divide the tasks in the same way, whatever the order of the groups.

        >>> Partition(((0, 1), (2,))).matches(Partition(((2,), (1, 0))))
        True
        """
        return self.canonical() == other.canonical()


def cut_in_two(
    coordinate: ArrayLike, *, cut: Cut, weights: ArrayLike | None = None, at_least: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split tasks into a low and a high side of one coordinate.

    Tasks are ordered by coordinate, equal ones by index, and the order is cut once. ``sign`` cuts between negative and
    other coordinates. The others cut where the weights of both sides are most equal; of equally good places the one in
    the widest gap between neighbours wins, so that mirroring the axis mirrors the split, and then the lowest. Both
    sides get ``at_least`` tasks: places that leave fewer are passed over, and ``sign`` takes the nearest that does not.

    Args:
        coordinate: float [n].
        cut: ``sign``, or the unit in which sides are balanced: tasks (``count``), training ``samples`` or ``tokens``.
        weights: positive float [n], samples or tokens of every task; ``sign`` and ``count`` do not use it.
        at_least: smallest number of tasks on a side.

    Returns:
        Positions on the low and on the high side, int64, ascending.

    >>> low, high = cut_in_two([0.3, -0.2, 0.9, 0.1], cut="count")
    >>> low.tolist(), high.tolist()
    ([1, 3], [0, 2])
    >>> low, high = cut_in_two([0.3, -0.2, 0.9, 0.1], cut="samples", weights=[1, 9, 1, 1])
    >>> low.tolist(), high.tolist()
    ([1], [0, 2, 3])
    """
    places = np.asarray(coordinate, dtype=np.float64)
    if places.ndim != 1 or not np.isfinite(places).all():
        raise ValueError("coordinate must be one finite number per task")
    n_tasks = len(places)
    if at_least < 1 or n_tasks < 2 * at_least:
        raise ValueError(f"{n_tasks} tasks cannot be cut into two sides of at least {at_least}")
    shares = _cut_weights(cut, weights, n_tasks)
    order = np.argsort(places, kind="stable")
    if cut == "sign":
        size = int(np.clip((places < 0).sum(), at_least, n_tasks - at_least))
    else:
        sizes = np.arange(at_least, n_tasks - at_least + 1)
        reached = np.cumsum(shares[order])
        imbalance = np.abs(2 * reached[sizes - 1] - reached[-1])
        best = sizes[imbalance <= imbalance.min() + 1e-12 * reached[-1]]
        gaps = places[order][best] - places[order][best - 1]
        size = int(best[np.argmax(gaps)])
    return np.sort(order[:size]), np.sort(order[size:])


def pca_partition(
    matrix: ArrayLike,
    depth: int,
    *,
    centre: Centre,
    cut: Cut,
    weights: ArrayLike | None = None,
) -> Partition:
    """Partition into 2^depth groups by recursive cuts along the principal axes of a matrix between tasks.

    Level l cuts every group along coordinate l of the global axes. A cut leaves each side enough tasks for the levels
    below it. With two groups of equal size and centre ``double``, this is the median split of the first eigenvector,
    whose sᵀMs is at least μ₁‖v₁ - med‖₁² (F.11 as corrected).

    Args:
        matrix: float [n_tasks, n_tasks], symmetric: cosine or Gram matrix of the task gradients.
        depth: number of axes and levels, at least 1.
        centre: centring before the axes are found.
        cut: where each group is cut, see `cut_in_two`.
        weights: positive float [n_tasks], training samples or tokens of every task for the cuts of that name.

    Returns:
        Groups ordered by their sides, low before high, the first axis first.

    >>> two_camps = [[1.0, 0.9, -0.8, -0.7], [0.9, 1.0, -0.6, -0.9], [-0.8, -0.6, 1.0, 0.8], [-0.7, -0.9, 0.8, 1.0]]
    >>> pca_partition(two_camps, 1, centre="double", cut="count").canonical().groups
    ((0, 1), (2, 3))
    """
    n_tasks = len(np.asarray(matrix))
    if depth < 1:
        raise ValueError(f"depth is {depth}; a partition needs at least one cut")
    if n_tasks < 2**depth:
        raise ValueError(f"{n_tasks} tasks cannot fill the 2^{depth} = {2**depth} groups of depth {depth}")
    coordinates = principal_axes(matrix, depth, centre=centre).coordinates
    shares = _cut_weights(cut, weights, n_tasks)
    groups = [np.arange(n_tasks)]
    for level in range(depth):
        at_least = 2 ** (depth - level - 1)
        groups = [
            group[side]
            for group in groups
            for side in cut_in_two(coordinates[group, level], cut=cut, weights=shares[group], at_least=at_least)
        ]
    return Partition(tuple(tuple(group.tolist()) for group in groups))


def _cut_weights(cut: Cut, weights: ArrayLike | None, n_tasks: int) -> NDArray[np.float64]:
    """What each task weighs under this cut; float64 [n_tasks], ones where tasks are counted."""
    if cut not in get_args(Cut):
        raise ValueError(f"cut is {cut!r}; expected one of {', '.join(get_args(Cut))}")
    if cut in ("sign", "count"):
        return np.ones(n_tasks)
    if weights is None:
        raise ValueError(f"a cut by {cut} needs the {cut} of every task as weights")
    return _positive_weights(weights, n_tasks)


def _positive_weights(weights: ArrayLike, n_tasks: int) -> NDArray[np.float64]:
    """Weights in float64 [n_tasks], or a ValueError that names the first task whose weight is not positive."""
    shares = np.asarray(weights, dtype=np.float64)
    if shares.shape != (n_tasks,):
        raise ValueError(f"weights have shape {shares.shape}; expected one for each of {n_tasks} tasks")
    usable = np.isfinite(shares) & (shares > 0)
    if not usable.all():
        task = int(np.argmin(usable))
        raise ValueError(f"task {task} weighs {shares[task]}; weights must be positive and finite")
    return shares


def between_group_objective(partition: Partition, matrix: ArrayLike) -> float:
    """Sum over groups of 1_gᵀM1_g / n_g: for a Gram matrix, the squared norms of the groups' means weighted by size.

    Centring M as ``rows`` or ``double`` lowers it by 1ᵀM1/N for every partition alike, so the best partition does not
    depend on centring. For two groups of n tasks each, sᵀMs = 2n · objective - 1ᵀM1.

    Args:
        partition: of n_tasks tasks.
        matrix: float [n_tasks, n_tasks], symmetric.

    Returns:
        The objective; larger means that groups differ more between and less within.

    >>> between_group_objective(Partition(((0, 1), (2,))), [[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 2.0]])
    3.5
    """
    square = _matrix_of(partition, matrix)
    sizes = partition.indicators.sum(axis=0)
    within = np.einsum("ig,ij,jg->g", partition.indicators, square, partition.indicators, optimize=True)
    return float((within / sizes).sum())


def swap_refined(partition: Partition, matrix: ArrayLike) -> Partition:
    """Exchange pairs of tasks between groups, the best pair each time, until no exchange raises the objective.

    Sizes of the groups stay, their weights in samples or tokens need not; the objective is `between_group_objective`,
    whose optimum needs no centring. Improvements within rounding do not count, so the search ends.

    Args:
        partition: where to start, whatever matrix it was found on.
        matrix: float [n_tasks, n_tasks], symmetric: the matrix whose objective the swaps raise. For the gain of a split
            it is the Gram matrix; swaps on the cosine matrix do not close the gap to the best split, which is due to
            the matrix and not to the median.

    Returns:
        A partition that no single exchange improves, tasks ascending in each group.

    >>> swap_refined(Partition(((0, 2), (1, 3))), [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]).groups
    ((2, 3), (0, 1))
    """
    square = _matrix_of(partition, matrix)
    labels = partition.labels
    sizes = partition.indicators.sum(axis=0)
    diagonal = np.diagonal(square)
    distances = diagonal[:, None] + diagonal[None, :] - 2 * square
    rounding = 1e-12 * len(labels) * np.abs(square).max()
    while True:
        # affinity[i, j]: mean entry between task i and the group of task j.
        affinity = (square @ np.eye(len(sizes))[labels] / sizes)[:, labels]
        own = np.diagonal(affinity)
        shares = 1 / sizes[labels]
        change = 2 * (affinity + affinity.T - own[:, None] - own[None, :])
        change += distances * (shares[:, None] + shares[None, :])
        change[labels[:, None] == labels[None, :]] = -np.inf
        first, second = np.unravel_index(np.argmax(change), change.shape)
        if change[first, second] <= rounding:
            return Partition(tuple(tuple(np.flatnonzero(labels == group).tolist()) for group in range(len(sizes))))
        labels[[first, second]] = labels[[second, first]]


def _matrix_of(partition: Partition, matrix: ArrayLike) -> NDArray[np.float64]:
    """The symmetric matrix in float64, refused unless it is between the tasks of the partition."""
    square = as_symmetric(matrix)
    if len(square) != partition.n_tasks:
        raise ValueError(f"matrix is between {len(square)} tasks, the partition of {partition.n_tasks}")
    return square


def random_partition(
    n_tasks: int, n_groups: int, rng: np.random.Generator, weights: ArrayLike | None = None
) -> Partition:
    """Partition of a uniformly random order of the tasks, cut where the groups' weights come out most equal.

    Cuts are made from the front: each group takes the tasks whose weight is nearest to an equal share of what is left,
    at least one, and leaves at least one for every later group. Without weights the sizes differ by at most one.

    Args:
        n_tasks: number of tasks N.
        n_groups: number of groups K, 1 ≤ K ≤ N.
        rng: the only source of randomness.
        weights: positive float [n_tasks]; all tasks weigh the same if left out.

    Returns:
        Groups in the order of the cuts, tasks ascending in each.

    >>> sorted(len(group) for group in random_partition(7, 3, np.random.default_rng(0)).groups)
    [2, 2, 3]
    """
    if not 1 <= n_groups <= n_tasks:
        raise ValueError(f"{n_tasks} tasks cannot fill {n_groups} groups; expected 1 ≤ groups ≤ tasks")
    shares = np.ones(n_tasks) if weights is None else _positive_weights(weights, n_tasks)
    order = rng.permutation(n_tasks)
    reached = np.concatenate([[0.0], np.cumsum(shares[order])])
    edges = [0]
    for groups_left in range(n_groups, 1, -1):
        start = edges[-1]
        share = (reached[-1] - reached[start]) / groups_left
        candidates = np.arange(start + 1, n_tasks - groups_left + 2)
        edges.append(int(candidates[np.argmin(np.abs(reached[candidates] - reached[start] - share))]))
    return Partition(tuple(tuple(np.sort(group).tolist()) for group in np.split(order, edges[1:])))


def balanced_splits(n_tasks: int) -> Iterator[Partition]:
    """All divisions of an even number of tasks into two groups of equal size, each once, task 0 in the first group.

    Args:
        n_tasks: even, at least 2.

    Yields:
        C(N, N/2) / 2 partitions in lexicographic order.

    >>> [split.groups[0] for split in balanced_splits(4)]
    [(0, 1), (0, 2), (0, 3)]
    """
    if n_tasks < 2 or n_tasks % 2:
        raise ValueError(f"{n_tasks} tasks have no balanced split; expected an even number, at least 2")
    for companions in combinations(range(1, n_tasks), n_tasks // 2 - 1):
        first = (0, *companions)
        yield Partition((first, tuple(task for task in range(n_tasks) if task not in first)))
