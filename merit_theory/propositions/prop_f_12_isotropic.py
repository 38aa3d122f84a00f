"""Proposition F.12 (2): no conflict direction is preferred."""

import jax
import jax.numpy as jnp
import numpy as np

from merit_theory.ensembles import TaskTable, balanced_signs
from merit_theory.propositions.prop_f_11 import FOUR_TASKS
from merit_theory.propositions.proposition import Batch, Claim, Ensemble, Hypothesis, Proposition, Sides
from merit_theory.split_gain import double_centred, signed_form


def _sides(table: TaskTable) -> Sides:
    """Every split's form against μN."""
    matrix = table.matrix
    n_tasks = len(matrix)
    forms = jax.vmap(lambda signs: signed_form(matrix, signs))(jnp.asarray(balanced_signs(n_tasks)))
    level = jnp.trace(double_centred(matrix)) / (n_tasks - 1)
    return Sides(forms, jnp.full(len(forms), level * n_tasks), jnp.trace(matrix))


def _isotropic(table: TaskTable) -> jnp.ndarray:
    eigenvalues = jnp.linalg.eigvalsh(double_centred(table.matrix))[1:]
    return eigenvalues[-1] - eigenvalues[0] <= 1e-9 * eigenvalues[-1]


def _draw(rng: np.random.Generator, n: int, n_tasks: int = 8) -> Batch:
    return {
        "mirror": rng.standard_normal((n, n_tasks)),
        "mean": rng.standard_normal((n, n_tasks)),
        "log": rng.normal(size=n),
    }


def _build(drawn: Batch) -> TaskTable:
    """Orthogonal gradients of equal length, plus one that all share."""
    mirror = drawn["mirror"] / jnp.linalg.norm(drawn["mirror"])
    orthogonal = jnp.eye(mirror.size) - 2 * jnp.outer(mirror, mirror)
    return TaskTable(jnp.exp(drawn["log"]) * orthogonal + drawn["mean"][None, :], jnp.eye(mirror.size))


PROPOSITION = Proposition(
    id="prop-f.12-isotropic",
    reference="Proposition F.12 (2)",
    statement="Where M = μP every balanced split has the same gain, sᵀMs = μN, not only in expectation.",
    scope="one-step",
    verdict="holds",
    claim=Claim(
        reads="sᵀMs = μN for every balanced split",
        sides=_sides,
        relation="=",
        hypotheses=(Hypothesis("PMP is a multiple of P", _isotropic, without=FOUR_TASKS),),
        ensembles=(Ensemble(_draw, _build),),
        tolerance=1e-11,
    ),
)
