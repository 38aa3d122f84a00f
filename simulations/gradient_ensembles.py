"""Six ways in which the gradients of tasks may lie at a shared start: what split rules are tried on.

In the linear-quadratic model a task gradient is -H a with a the task's optimum relative to the start, so curvature
shapes gradients: along an eigendirection of eigenvalue λ they spread by λ times the spread of the optima. At a start
that is not the optimum of the mixture all tasks share a mean gradient.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Ensemble = Literal[
    "independent",
    "clustered",
    "heavy norms",
    "shared mean",
    "shared mean, spread of deviations",
    "shared mean, spread of norms",
]
ENSEMBLES: tuple[Ensemble, ...] = get_args(Ensemble)

CLUSTERS = 4
WITHIN_CLUSTER = 0.3
"""Scatter of a task's optimum around its cluster's, in units of the scatter of the clusters."""

HEAVY = 1.0
"""Standard deviation of the logarithm of the length of a task's gradient where norms are heavy-tailed."""

SHARED_MEAN = 3.0
"""Distance of the mixture's optimum from the start, in units of the scatter of the task optima."""

SPREAD = 0.4
"""Standard deviation of the logarithm of lengths beside a shared mean; norms in the paper's Table 19 vary by .39."""


def draw_gradients(
    ensemble: Ensemble, rng: np.random.Generator, n_tasks: int, curvatures: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Task gradients at the start.

    Args:
        ensemble: how they lie.
        rng: the only source of randomness.
        n_tasks: N.
        curvatures: float64 [d], eigenvalues of the Hessian that all tasks share, whose eigenvectors are the axes.

    Returns:
        float64 [N, d].

    >>> draw_gradients("clustered", np.random.default_rng(0), 8, np.ones(3)).shape
    (8, 3)
    """
    dimension = len(curvatures)
    if ensemble == "clustered":
        centres = rng.standard_normal((CLUSTERS, dimension))
        optima = centres[rng.integers(CLUSTERS, size=n_tasks)]
        return -curvatures * (optima + WITHIN_CLUSTER * rng.standard_normal((n_tasks, dimension)))
    optima = rng.standard_normal((n_tasks, dimension))
    lengths = rng.standard_normal((n_tasks, 1))
    if ensemble == "heavy norms":
        optima *= np.exp(HEAVY * lengths)
    if ensemble == "shared mean, spread of deviations":
        optima *= np.exp(SPREAD * lengths)
    if ensemble.startswith("shared mean"):
        optima += SHARED_MEAN * rng.standard_normal(dimension)
    if ensemble == "shared mean, spread of norms":
        optima *= np.exp(SPREAD * lengths)
    return -curvatures * optima
