"""Random quadratic tasks that differ in curvature as well as in optimum, and all their balanced splits."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from merit_theory.hessian import DenseHessian, Hessian
from merit_theory.linear_quadratic import LinearQuadraticModel, group_weights
from merit_theory.partition import balanced_splits


class UnequalTasks(NamedTuple):
    """Many draws of a mixture of quadratic tasks, a pytree of plain arrays.

    Attributes:
        hessians: float64 [draws, N, d, d], Wishart with d degrees of freedom, scaled so that the largest eigenvalue of
            every draw's mean Hessian is one.
        optima: float64 [draws, N, d], standard normal.
        starts: float64 [draws, d], optimum of the mixture plus `away` times a standard normal vector.
    """

    hessians: Float[Array, "*m n d d"]
    optima: Float[Array, "*m n d"]
    starts: Float[Array, "*m d"]

    @property
    def model(self) -> LinearQuadraticModel:
        """The tasks of one draw, inside a `jax.vmap` over draws."""
        return LinearQuadraticModel(DenseHessian(self.hessians), self.optima)


def draw_unequal_tasks(rng: np.random.Generator, draws: int, n_tasks: int, dimension: int, away: float) -> UnequalTasks:
    """Mixtures of tasks whose Hessians do not commute.

    Args:
        rng: the only source of randomness.
        draws: number of mixtures.
        n_tasks: N.
        dimension: d.
        away: distance of the start from the optimum of the mixture, in units of the spread of the optima; zero gives
            the stationary start of appendix F.4.

    >>> tasks = draw_unequal_tasks(np.random.default_rng(0), draws=3, n_tasks=4, dimension=2, away=0.0)
    >>> np.linalg.eigvalsh(tasks.hessians.mean(axis=1))[:, -1].round(12).tolist()
    [1.0, 1.0, 1.0]
    """
    factors = rng.standard_normal((draws, n_tasks, dimension, dimension))
    hessians = factors @ factors.swapaxes(-1, -2)
    hessians /= np.linalg.eigvalsh(hessians.mean(axis=1))[:, -1, None, None, None]
    optima = rng.standard_normal((draws, n_tasks, dimension))
    pull = np.einsum("mnij,mnj->mi", hessians, optima) / n_tasks
    centre = np.linalg.solve(hessians.mean(axis=1), pull[..., None])[..., 0]
    starts = centre + away * rng.standard_normal(centre.shape)
    return UnequalTasks(jnp.asarray(hessians), jnp.asarray(optima), jnp.asarray(starts))


def rows_of_balanced_splits(n_tasks: int) -> Float[Array, "s 2 n"]:
    """Group weights of every balanced split, float64 [C(N, N/2)/2, 2, N], in the order of `balanced_splits`.

    >>> rows_of_balanced_splits(4)[0].tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    return jnp.stack([group_weights(split) for split in balanced_splits(n_tasks)])


def excess_loss(
    model: LinearQuadraticModel, mean_hessian: Hessian, parameters: Float[Array, "*batch d"]
) -> Float[Array, "*batch"]:
    """Mixture loss above its minimum, ½‖θ - θ*‖² in the mean Hessian: no difference of losses that cancels.

    >>> model = LinearQuadraticModel(DenseHessian(jnp.eye(1)), jnp.array([[1.0], [-1.0]]))
    >>> excess_loss(model, model.mean_hessian(), jnp.array([[2.0], [0.0]])).tolist()
    [2.0, 0.0]
    """
    away = parameters - jnp.broadcast_to(model.optimum(), parameters.shape)
    return 0.5 * mean_hessian.quadratic_form(away)
