r"""The gain a partition buys with one first-order step, from the task matrix alone: values, mean at random, bounds.

Notation: task gradients are rows g_i, M_ij = g_iᵀHg_j is the task matrix (not the Gram matrix g_iᵀg_j), P = I - 11ᵀ/N.
A branch moves against the mean gradient of its group by ``step``: η for one step of gradient descent, ητ in the
first-order model of τ steps, 1 with `spectral_filter.filtered_task_matrix`, which is exact for τ steps.

The gain is the loss that merging takes back, mean branch loss minus merged loss. Under a Hessian common to all tasks it
is the loss the split inflicted on its branches, and the merged model is the same for every balanced split: nothing here
says that a larger gain gives a better merged model.
"""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpy.typing import NDArray

from merit_theory.conflict import as_symmetric
from merit_theory.hessian import Hessian
from merit_theory.precision import as_float64, check_unit_sum, is_concrete


def as_task_matrix(matrix: ArrayLike) -> Float[Array, "n n"]:
    """The matrix in float64, symmetric to the last bit; while JAX traces it passes as it is.

    Args:
        matrix: float [n, n].

    Raises:
        ValueError: not square, not finite or not symmetric; or float64 is switched off.
    """
    square = as_float64("the task matrix", matrix)
    return jnp.asarray(as_symmetric(np.asarray(square))) if is_concrete(square) else square


def task_matrix(gradients: ArrayLike, hessian: Hessian) -> Float[Array, "n n"]:
    """M with M_ij = g_iᵀHg_j.

    Args:
        gradients: float [n_tasks, d], one task gradient per row.
        hessian: of d parameters, common to all tasks.

    >>> from merit_theory.hessian import DenseHessian
    >>> task_matrix([[1.0, 0.0], [1.0, 2.0]], DenseHessian(jnp.diag(jnp.array([3.0, 1.0])))).tolist()
    [[3.0, 3.0], [3.0, 7.0]]
    """
    rows = as_float64("gradients", gradients)
    if rows.ndim != 2 or rows.shape[1] != hessian.dimension or hessian.stack_shape:
        raise ValueError(
            f"gradients have shape {rows.shape}, the Hessian {hessian.dimension} parameters and stack "
            f"{hessian.stack_shape}; expected [n, d], d and one Hessian for all tasks"
        )
    return rows @ hessian.product(rows).T


def double_centred(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """PMP: the task matrix of the gradients after their mean is taken out.

    Balanced signs have Ps = s, so sᵀMs = sᵀPMPs: a balanced split sees nothing else of M.
    """
    columns = matrix - matrix.mean(axis=0, keepdims=True)
    return columns - columns.mean(axis=1, keepdims=True)


def signed_form(matrix: ArrayLike, signs: ArrayLike) -> Float[Array, ""]:
    """The quadratic form sᵀMs of a split (F.10).

    Args:
        matrix: float64 [n, n], symmetric.
        signs: float64 [n], +1 in the first group and -1 in the second.

    >>> signed_form(jnp.array([[2.0, 1.0], [1.0, 2.0]]), jnp.array([1.0, -1.0])).item()
    2.0
    """
    square = as_task_matrix(matrix)
    sides = _as_signs(signs, len(square))
    return sides @ square @ sides


def split_gain(matrix: ArrayLike, signs: ArrayLike, step: ArrayLike) -> Float[Array, ""]:
    r"""Gain of a split into two groups whose branches are merged in proportion to their tasks (Eq. 7, appendix F.5).

    $$G = \frac{\text{step}^2}{8 n_1 n_2}\, s^\top PMP s, \qquad
        G = \frac{\text{step}^2}{2N^2}\, s^\top M s \text{ for } n_1 = n_2$$

    Args:
        matrix: float64 [n, n], the task matrix M.
        signs: float64 [n], ±1, both signs present.
        step: how far a unit gradient moves a branch.

    Returns:
        The gain, in the unit of the loss.

    >>> split_gain(jnp.diag(jnp.array([8.0, 8.0, 0.0, 0.0])), jnp.array([1.0, -1.0, 1.0, -1.0]), 1.0).item()
    0.5
    """
    square = as_task_matrix(matrix)
    sides = _as_signs(signs, len(square))
    if is_concrete(sides) and abs(sides.sum().item()) == len(sides):
        raise ValueError("all signs are equal; a split needs a task on both sides")
    centred = sides - sides.mean()
    first = (len(square) + sides.sum()) / 2
    return as_float64("step", step) ** 2 * (centred @ square @ centred) / (8 * first * (len(square) - first))


def partition_gain(
    matrix: ArrayLike,
    indicators: ArrayLike,
    step: ArrayLike,
    weights: ArrayLike | None = None,
) -> Float[Array, ""]:
    r"""Gain G_K of any partition from the mean gradients of its groups, all branches making the same step (F.13).

    $$G_K = \tfrac12 \text{step}^2 \sum_k w_k\, e_k^\top M e_k, \qquad e_k = 1_k / n_k - \sum_j w_j 1_j / n_j$$

    Args:
        matrix: float64 [n, n], the task matrix M.
        indicators: float64 [n, k], one where the task is in the group, `Partition.indicators`.
        step: how far a unit gradient moves a branch.
        weights: float64 [k], merge weights with sum one; the groups' shares of the tasks if left out.

    Returns:
        The gain, in the unit of the loss.

    >>> M = jnp.diag(jnp.array([4.0, 4.0, 0.0, 0.0]))
    >>> partition_gain(M, jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), 1.0).item()
    0.25
    """
    square = as_task_matrix(matrix)
    members = as_float64("indicators", indicators)
    if members.ndim != 2 or len(members) != len(square):
        raise ValueError(f"indicators have shape {members.shape}; expected one row for each of {len(square)} tasks")
    if is_concrete(members):
        _check_indicators(np.asarray(members))
    sizes = members.sum(axis=0)
    shares = sizes / len(square) if weights is None else as_float64("weights", weights)
    if shares.shape != sizes.shape:
        raise ValueError(f"weights have shape {shares.shape}; expected one for each of {len(sizes)} groups")
    check_unit_sum("weights", shares)
    means = members / sizes[None, :]
    offsets = means - (means @ shares)[:, None]
    return 0.5 * as_float64("step", step) ** 2 * jnp.einsum("k,ik,ij,jk->", shares, offsets, square, offsets)


def expected_random_form(matrix: ArrayLike) -> Float[Array, ""]:
    """Mean of sᵀMs over all balanced splits: N/(N-1)·tr(PMP), from E[ssᵀ] = N/(N-1)·P (F.10).

    >>> expected_random_form(jnp.diag(jnp.array([3.0, 0.0, 0.0, 0.0]))).item()
    3.0
    """
    square = as_task_matrix(matrix)
    n_tasks = _even(len(square))
    return n_tasks / (n_tasks - 1) * jnp.trace(double_centred(square))


def expected_random_gain(matrix: ArrayLike, n_groups: int, step: ArrayLike) -> Float[Array, ""]:
    r"""Mean gain over random partitions into K groups merged in proportion to their tasks (F.10, any K).

    $$\mathbb E\, G_K = \tfrac12 \text{step}^2\, \operatorname{tr}(PMP)\, \frac{K-1}{N(N-1)}$$

    The sizes of the groups may be anything: a group of n tasks has E‖ḡ - mean‖²_H = tr(PMP)/N·(N-n)/(n(N-1)), and with
    weights n/N the sum over groups depends on their number alone. With other weights it depends on the sizes.

    Args:
        matrix: float64 [n, n], the task matrix M.
        n_groups: K, 1 ≤ K ≤ N.
        step: how far a unit gradient moves a branch.
    """
    square = as_task_matrix(matrix)
    n_tasks = len(square)
    if not 1 <= n_groups <= n_tasks or n_tasks < 2:
        raise ValueError(
            f"{n_tasks} tasks cannot fill {n_groups} groups; expected 1 ≤ groups ≤ tasks, at least 2 tasks"
        )
    share = (n_groups - 1) / (n_tasks * (n_tasks - 1))
    return 0.5 * as_float64("step", step) ** 2 * jnp.trace(double_centred(square)) * share


def leading_axis(matrix: ArrayLike) -> tuple[Float[Array, ""], Float[Array, " n"]]:
    """Largest eigenvalue μ₁ of PMP and its unit eigenvector v₁, of arbitrary sign."""
    eigenvalues, vectors = jnp.linalg.eigh(double_centred(as_task_matrix(matrix)))
    return eigenvalues[-1], vectors[:, -1]


def median_split(coordinate: ArrayLike) -> Float[Array, " n"]:
    """Signs of the balanced split that aligns best with a coordinate: +1 for the upper half, equal ones by index.

    >>> median_split(jnp.array([0.3, -0.2, 0.9, 0.1])).tolist()
    [1.0, -1.0, 1.0, -1.0]
    """
    axis = as_float64("coordinate", coordinate)
    places = jnp.argsort(jnp.argsort(axis, stable=True))
    return jnp.where(places >= _even(len(axis)) // 2, 1.0, -1.0)


def median_bound(matrix: ArrayLike) -> Float[Array, ""]:
    """Lower bound μ₁‖v₁ - med(v₁)1‖₁² on sᵀMs for the median split s of v₁ (F.11 as corrected).

    Balanced s gives sᵀv = sᵀ(v - c1) ≤ ‖v - c1‖₁ for every c, with equality at the median split and c = med; the other
    axes add Σμ_j(sᵀv_j)² ≥ 0 if PMP is positive semi-definite, which the bound needs.
    """
    eigenvalue, axis = leading_axis(matrix)
    _even(len(axis))
    return eigenvalue * jnp.abs(axis - jnp.median(axis)).sum() ** 2


def sign_bound(matrix: ArrayLike) -> Float[Array, ""]:
    """The paper's lower bound μ₁‖v₁‖₁² (F.11), true of s = sign(v₁): for balanced splits only if that is balanced."""
    eigenvalue, axis = leading_axis(matrix)
    return eigenvalue * jnp.abs(axis).sum() ** 2


def ratio_to_random(matrix: ArrayLike, form: ArrayLike) -> Float[Array, ""]:
    """A value of sᵀMs, or a bound on it, relative to its mean over balanced splits.

    With `sign_bound` this is the right side of the paper's (9), and its condition (10), μ₁‖v₁‖₁²/tr M > N/(N-1), asks
    for more than one; with `median_bound` it is the corrected (10′), which does imply a median split above the mean.
    """
    return as_float64("form", form) / expected_random_form(matrix)


def _even(n_tasks: int) -> int:
    if n_tasks < 2 or n_tasks % 2:
        raise ValueError(f"{n_tasks} tasks have no balanced split; expected an even number, at least 2")
    return n_tasks


def _as_signs(signs: ArrayLike, n_tasks: int) -> Float[Array, " n"]:
    sides = as_float64("signs", signs)
    if sides.shape != (n_tasks,):
        raise ValueError(f"signs have shape {sides.shape}; expected one for each of {n_tasks} tasks")
    if is_concrete(sides) and not (unit := np.abs(np.asarray(sides)) == 1).all():
        task = int(np.argmin(unit))
        raise ValueError(f"the sign of task {task} is {sides[task]}; expected +1 or -1")
    return sides


def _check_indicators(indicators: NDArray[np.float64]) -> None:
    if not np.isin(indicators, (0, 1)).all() or not (indicators.sum(axis=1) == 1).all():
        raise ValueError("indicators must be zero or one, with a single one in every row")
    occupied = indicators.any(axis=0)
    if not occupied.all():
        raise ValueError(f"group {np.argmin(occupied)} is empty")
