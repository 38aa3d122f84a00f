"""Proposition F.13: the gain of a partition adds up over eigendirections."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from merit_theory.ensembles import TaskTable, group_rows, random_labels, tables
from merit_theory.merging import gain_by_eigendirection
from merit_theory.propositions.proposition import Batch, Claim, Ensemble, Numbers, Proposition, Sides
from merit_theory.split_gain import partition_gain


class GroupedTasks(NamedTuple):
    """Tasks by their optima under one Hessian, in groups.

    Attributes:
        optima: float64 [n, d], relative to the start.
        hessian: float64 [d, d].
        rows: float64 [k, n], the mean over every group.
        shares: float64 [k], the merge weights.
    """

    optima: Float[Numbers, "n d"]
    hessian: Float[Numbers, "d d"]
    rows: Float[Numbers, "k n"]
    shares: Float[Numbers, " k"]


def _sides(tasks: GroupedTasks) -> Sides:
    """The gain from the task matrix against ½Σλ³Var(u·ā) and the library's sum over eigendirections."""
    gradients = -tasks.optima @ tasks.hessian
    matrix = TaskTable(gradients, tasks.hessian).matrix
    gain = partition_gain(matrix, jnp.where(tasks.rows.T > 0, 1.0, 0.0), 1.0, tasks.shares)
    eigenvalues, basis = jnp.linalg.eigh(tasks.hessian)
    places = tasks.rows @ tasks.optima @ basis
    variances = tasks.shares @ (places - (tasks.shares @ places)[None, :]) ** 2
    by_axis = gain_by_eigendirection(tasks.hessian, -tasks.rows @ gradients, tasks.shares).sum()
    cubic = 0.5 * (eigenvalues**3 @ variances)
    return Sides(jnp.stack([gain, gain]), jnp.stack([by_axis, cubic]), jnp.abs(matrix).max() + 1e-300)


N_TASKS, N_GROUPS = 7, 3
TABLES = tables(N_TASKS)


def _draw(rng: np.random.Generator, n: int) -> Batch:
    return TABLES.draw(rng, n) | {"labels": random_labels(rng, n, N_TASKS, N_GROUPS)}


def _build(drawn: Batch) -> GroupedTasks:
    optima, hessian = TABLES.build(drawn)
    rows, shares = group_rows(drawn["labels"], N_GROUPS)
    return GroupedTasks(optima, hessian, rows, shares)


PROPOSITION = Proposition(
    id="prop-f.13",
    reference="Proposition F.13, additivity",
    statement="One step of any partition gains ½(ητ)²Σ_ℓ λ_ℓ³ Var_k(u_ℓ·ā_k), summed over all eigendirections.",
    scope="one-step",
    verdict="holds",
    claim=Claim(
        reads="G_K = ½(ητ)²Σλ_ℓ³Var_k(u_ℓ·ā_k)",
        sides=_sides,
        relation="=",
        ensembles=(Ensemble(_draw, _build),),
        tolerance=1e-11,
    ),
)
