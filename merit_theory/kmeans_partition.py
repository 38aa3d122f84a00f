"""K-means on the gradients themselves, the partition that the paper compares its own with (Table 10).

Gradients are too long to cluster, but k-means sees nothing of them except distances, and the Gram matrix has all of
these. Points with the same distances, one coordinate per task, therefore give the same clusters.
"""

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from merit_theory.conflict import principal_axes
from merit_theory.partition import Partition

RESTARTS = 10


def euclidean_embedding(matrix: ArrayLike) -> NDArray[np.float64]:
    """Points whose squared distances are Mᵢᵢ + Mⱼⱼ - 2Mᵢⱼ, those between the gradients behind a Gram matrix M.

    Classical scaling with all axes: the points are centred, and a gradient that all tasks share drops out.

    Args:
        matrix: float [n_tasks, n_tasks], positive semi-definite: inner products of gradients, or of normalised ones.

    Returns:
        float64 [n_tasks, r], with the r ≥ 1 axes that tell tasks apart, in units of a gradient.

    Raises:
        ValueError: the matrix has a negative eigenvalue beyond rounding; no points have such distances.

    >>> points = euclidean_embedding([[25.0, 8.0], [8.0, 4.0]])
    >>> round(float(((points[0] - points[1]) ** 2).sum()), 9)
    13.0
    """
    n_tasks = len(np.asarray(matrix))
    axes = principal_axes(matrix, n_tasks, centre="double")
    lowest = axes.eigenvalues[-1]
    if lowest < -1e-9 * n_tasks * np.abs(np.asarray(matrix)).max():
        raise ValueError(f"the centred matrix has the eigenvalue {lowest:.3g}; no gradients have such inner products")
    rank = max(1, int(np.count_nonzero(axes.coordinates.any(axis=0))))
    return axes.coordinates[:, :rank]


def kmeans_partition(matrix: ArrayLike, n_groups: int, rng: np.random.Generator) -> Partition:
    """Groups of tasks with least squared distance to their group's mean gradient, by scikit-learn's `KMeans`.

    On the cosine matrix these are clusters of normalised gradients, as in the paper, on the Gram matrix clusters of
    gradients as they are. Like tasks end up together; sizes are free. Of several restarts the best is kept. Minimising
    the distances within groups is maximising `between_group_objective` of the same matrix over groups of any size.

    Args:
        matrix: float [n_tasks, n_tasks], positive semi-definite.
        n_groups: number of groups K, 1 ≤ K ≤ N.
        rng: the only source of randomness.

    Returns:
        K groups ordered by their first task. Where fewer than K gradients are distinct, equal ones are parted.

    >>> near_and_far = np.outer([0.0, 1.0, 2.0, 9.0], [0.0, 1.0, 2.0, 9.0])
    >>> kmeans_partition(near_and_far, 2, np.random.default_rng(0)).groups
    ((0, 1, 2), (3,))
    """
    from sklearn.cluster import KMeans  # takes a second or two, which a run without k-means need not wait
    from sklearn.exceptions import ConvergenceWarning

    points = euclidean_embedding(matrix)
    if not 1 <= n_groups <= len(points):
        raise ValueError(f"{len(points)} tasks cannot fill {n_groups} groups; expected 1 ≤ groups ≤ tasks")
    search = KMeans(n_groups, n_init=RESTARTS, tol=0.0, random_state=int(rng.integers(2**32)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer distinct points than groups
        labels = search.fit_predict(points)
    return Partition.from_labels(_filled(labels, points, n_groups)).canonical()


def _filled(labels: NDArray[np.integer], points: NDArray[np.float64], n_groups: int) -> NDArray[np.integer]:
    """Labels [n] in which each empty group got the point [n, r] farthest from the mean of a group of several."""
    labels = labels.copy()
    for empty in sorted(set(range(n_groups)) - set(labels.tolist())):
        sizes = np.bincount(labels, minlength=n_groups)
        means = np.stack(
            [points[labels == group].mean(axis=0) if sizes[group] else points[0] for group in range(n_groups)]
        )
        distances = ((points - means[labels]) ** 2).sum(axis=1)
        labels[np.argmax(np.where(sizes[labels] > 1, distances, -1.0))] = empty
    return labels
