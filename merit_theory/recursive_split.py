r"""Recursive splits into 2, 4, 8 … groups: the gain level by level, at equal steps and at equal tokens (F.13).

A recursive split of N tasks is an order of them: the groups of level l are its 2^l equal stretches, so every level
refines the one before. Between-group variance never falls under refinement, whatever the order, so at equal steps a
larger gain at more levels says nothing for the rule that found the groups. MERIT's branches share one joint epoch: with
2^l groups each makes 2^-l of the steps, which divides the first-order gain by 4^l.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from merit_theory.precision import as_float64, check_finite, is_concrete
from merit_theory.split_gain import as_task_matrix, expected_random_gain, partition_gain

Budget = Literal["steps", "tokens"]


def recursive_median_order(coordinates: ArrayLike) -> Int[Array, " n"]:
    """Order of a recursive median split: level l halves every group at its median along coordinate l.

    The equal-sized case of `partition.pca_partition` with cut ``count``; equal coordinates keep their order.

    Args:
        coordinates: float [n, levels], n a multiple of 2^levels.

    Returns:
        int [n], groups of the last level one after the other, low sides first.

    >>> recursive_median_order([[0.1, 5.0], [0.9, 1.0], [0.2, 4.0], [0.8, 2.0]]).tolist()
    [2, 0, 1, 3]
    """
    places = as_float64("coordinates", coordinates)
    if places.ndim != 2:
        raise ValueError(f"coordinates have shape {places.shape}; expected [n_tasks, levels]")
    n_tasks, levels = places.shape
    _check_levels(n_tasks, levels)
    check_finite("coordinates", places)
    groups = jnp.arange(n_tasks)[None, :]
    for level in range(levels):
        sides = jnp.argsort(places[:, level][groups], axis=1, stable=True)
        groups = jnp.take_along_axis(groups, sides, axis=1).reshape(2 * len(groups), -1)
    return groups.reshape(n_tasks)


def level_gains(
    matrix: ArrayLike, order: ArrayLike, levels: int, step: ArrayLike, budget: Budget
) -> Float[Array, " levels"]:
    """Gain at each level of a recursive split in the first-order model.

    Args:
        matrix: float [n, n], the task matrix M, n a multiple of 2^levels.
        order: int [n], each task once; level l has the 2^l equal stretches of it as groups.
        levels: number of levels, at least 1.
        step: ητ with τ the steps of the joint run.
        budget: ``steps`` gives every branch those τ steps; ``tokens`` gives each of K branches τ/K.

    Returns:
        float64 [levels], the gain with 2, 4, … groups: never falling for ``steps``, if the Hessian behind M is positive
        semi-definite.

    >>> level_gains(hypercube_task_matrix([3.0, 2.0, 1.0], [1.0, 1.0, 1.0]), range(8), 3, 1.0, "steps").tolist()
    [13.5, 17.5, 18.0]
    >>> level_gains(hypercube_task_matrix([3.0, 2.0, 1.0], [1.0, 1.0, 1.0]), range(8), 3, 8.0, "tokens").tolist()
    [216.0, 70.0, 18.0]
    """
    square = as_task_matrix(matrix)
    n_tasks = len(square)
    _check_levels(n_tasks, levels)
    tasks = jnp.asarray(order)
    if tasks.shape != (n_tasks,) or (is_concrete(tasks) and sorted(tasks.tolist()) != list(range(n_tasks))):
        raise ValueError(f"order must hold each of the tasks 0 … {n_tasks - 1} once")
    stretches = jnp.zeros(n_tasks, dtype=jnp.int64).at[tasks].set(jnp.arange(n_tasks))
    gains = []
    for n_groups in _group_numbers(levels):
        indicators = jax.nn.one_hot(stretches // (n_tasks // n_groups), n_groups, dtype=jnp.float64)
        gains.append(partition_gain(square, indicators, step))
    return jnp.stack(gains) * _step_share(levels, budget) ** 2


def expected_random_level_gains(
    matrix: ArrayLike, levels: int, step: ArrayLike, budget: Budget
) -> Float[Array, " levels"]:
    """Mean of `level_gains` over random orders: grows as K-1 at equal steps, falls as (K-1)/K² at equal tokens.

    Args:
        matrix: float [n, n], the task matrix M, n a multiple of 2^levels.
        levels: number of levels, at least 1.
        step: ητ with τ the steps of the joint run.
        budget: as in `level_gains`.

    >>> expected_random_level_gains(jnp.eye(8) * 16, 3, 1.0, "tokens").tolist()
    [0.25, 0.1875, 0.109375]
    """
    square = as_task_matrix(matrix)
    _check_levels(len(square), levels)
    gains = [expected_random_gain(square, n_groups, step) for n_groups in _group_numbers(levels)]
    return jnp.stack(gains) * _step_share(levels, budget) ** 2


def hypercube_task_matrix(curvatures: ArrayLike, amplitudes: ArrayLike) -> Float[Array, "n n"]:
    r"""Task matrix of 2^r tasks whose optima are the corners of a box: a_i = Σ_j ε_ij α_j u_j with ε_ij = ±1.

    Here each level adds exactly its own axis, c_j = h_j³α_j²: cutting along axes 1 … l in turn gives, at step s,
    G_l = s²/2·Σ_{j≤l} c_j. At equal tokens G_{l+1}/G_l = Σ_{j≤l+1}c_j / (4Σ_{j≤l}c_j), at most (l+1)/(4l) ≤ 1/2 if the
    c_j do not increase.

    Args:
        curvatures: float [r], eigenvalues h_j of the Hessian.
        amplitudes: float [r], half lengths α_j of the box.

    Returns:
        float64 [2^r, 2^r]; task i has ε_ij = -1 where bit j of i, the highest first, is set, so that the order
        0 … 2^r-1 cuts along the axes in turn.

    >>> hypercube_task_matrix([2.0], [3.0]).tolist()
    [[72.0, -72.0], [-72.0, 72.0]]
    """
    curvature, amplitude = as_float64("curvatures", curvatures), as_float64("amplitudes", amplitudes)
    if curvature.ndim != 1 or curvature.shape != amplitude.shape:
        raise ValueError(
            f"curvatures have shape {curvature.shape}, amplitudes {amplitude.shape}; expected [r] for both"
        )
    n_axes = len(curvature)
    bits = (np.arange(2**n_axes)[:, None] >> np.arange(n_axes)[::-1]) & 1
    corners = jnp.asarray(1.0 - 2.0 * bits)
    return (corners * (curvature**3 * amplitude**2)[None, :]) @ corners.T


def _group_numbers(levels: int) -> list[int]:
    return [2**level for level in range(1, levels + 1)]


def _step_share(levels: int, budget: Budget) -> Float[Array, " levels"]:
    """Share of the joint run's steps that a branch makes at each level."""
    if budget not in get_args(Budget):
        raise ValueError(f"budget is {budget!r}; expected one of {', '.join(get_args(Budget))}")
    return jnp.array([1.0 / n_groups if budget == "tokens" else 1.0 for n_groups in _group_numbers(levels)])


def _check_levels(n_tasks: int, levels: int) -> None:
    if levels < 1 or n_tasks < 1 or n_tasks % 2**levels:
        raise ValueError(
            f"{n_tasks} tasks do not halve {levels} times; expected at least one level and a multiple of 2^levels"
        )
