"""The worst partition on purpose: the split from which the theory promises the least gain.

If a larger gain made a better merged model (thm-3.1 and its use in appendix F), this partition would be the one to
avoid; an arm that trains on it tests that.
"""

import numpy as np
from numpy.typing import ArrayLike

from merit_theory.conflict import centred
from merit_theory.partition import Partition, between_group_objective, random_partition, swap_refined

RESTARTS = 10


def least_gain_partition(gram: ArrayLike, n_groups: int, rng: np.random.Generator) -> Partition:
    """Groups of equal size, up to one task, whose mean gradients differ little: a low `between_group_objective`.

    Swap search downhill from several random partitions, of which the lowest is kept; the optimum is not guaranteed.

    Args:
        gram: float [n_tasks, n_tasks], symmetric: inner products of the task gradients as they are, not normalised.
        n_groups: number of groups K, 1 ≤ K ≤ N.
        rng: the only source of randomness.

    Returns:
        Groups ordered by their first task.

    >>> two_camps = np.outer([1.0, 1.0, -1.0, -1.0], [1.0, 1.0, -1.0, -1.0])
    >>> worst = least_gain_partition(two_camps, 2, np.random.default_rng(0))
    >>> between_group_objective(worst, two_camps)
    0.0
    """
    matrix = centred(gram, "double")
    found = (swap_refined(random_partition(len(matrix), n_groups, rng), -matrix) for _ in range(RESTARTS))
    return min(found, key=lambda partition: between_group_objective(partition, matrix)).canonical()
