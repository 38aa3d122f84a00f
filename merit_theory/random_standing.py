"""Where a partition stands among random ones with groups of the same sizes, as to the gain it promises."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from merit_theory.conflict import centred
from merit_theory.partition import Partition


@dataclass(frozen=True, slots=True)
class RandomStanding:
    """The between-group value of a partition beside those of random partitions.

    Attributes:
        objective: `between_group_objective` of the double-centred Gram matrix, in squared units of a gradient. The gain
            of equal-step branches merged in proportion to their tasks is step²/(2N) times it when curvature is the
            identity (thm-3.1).
        random_mean: its exact mean over all partitions with groups of these sizes (prop-f.10).
        rank: one more than the number of random partitions with a higher objective, 1 … draws + 1.
        draws: random partitions drawn.
    """

    objective: float
    random_mean: float
    rank: int
    draws: int


def random_standing(partition: Partition, gram: ArrayLike, *, draws: int, rng: np.random.Generator) -> RandomStanding:
    r"""Compare a partition with random ones whose groups have the same sizes.

    For groups of any sizes the mean over all of them, with M the centred matrix, is

    $$\mathbb{E} \sum_k 1_k^\top M 1_k / n_k = \operatorname{tr}(M) \frac{K - 1}{N - 1}$$

    Args:
        partition: of n_tasks tasks, at least two.
        gram: float [n_tasks, n_tasks], symmetric: inner products of the task gradients, not normalised.
        draws: number of random partitions.
        rng: the only source of randomness.

    Returns:
        The standing; a random partition counts as higher only when it is so beyond rounding.

    >>> two_camps = np.outer([1.0, 1.0, -1.0, -1.0], [1.0, 1.0, -1.0, -1.0])
    >>> random_standing(Partition(((0, 1), (2, 3))), two_camps, draws=50, rng=np.random.default_rng(0))
    RandomStanding(objective=4.0, random_mean=1.3333333333333333, rank=1, draws=50)
    """
    matrix = centred(gram, "double")
    n_tasks, n_groups = len(matrix), len(partition.groups)
    if partition.n_tasks != n_tasks or n_tasks < 2 or draws < 1:
        raise ValueError(
            f"a partition of {partition.n_tasks} tasks, a matrix between {n_tasks} and {draws} draws; expected the "
            "same two tasks or more and at least one draw"
        )
    orders = np.stack([np.arange(n_tasks), *(rng.permutation(n_tasks) for _ in range(draws))])
    indicators = partition.indicators[orders]
    within = np.einsum("dig,dig->dg", indicators, matrix @ indicators)
    objectives = (within / partition.indicators.sum(axis=0)).sum(axis=1)
    rounding = 1e-12 * n_tasks * np.abs(matrix).max()
    return RandomStanding(
        objective=float(objectives[0]),
        random_mean=float(np.trace(matrix)) * (n_groups - 1) / (n_tasks - 1),
        rank=1 + int((objectives[1:] > objectives[0] + rounding).sum()),
        draws=draws,
    )
