"""Proposition F.12 (1): one conflict direction."""

import jax
import jax.numpy as jnp
import numpy as np

from merit_theory.ensembles import TaskTable, balanced_signs, student
from merit_theory.propositions.prop_f_11 import FOUR_TASKS, median_form
from merit_theory.propositions.proposition import (
    Batch,
    Claim,
    Demonstration,
    Ensemble,
    Hypothesis,
    Outcome,
    Proposition,
    Sides,
)
from merit_theory.split_gain import double_centred, expected_random_form, signed_form


def _sides(table: TaskTable) -> Sides:
    matrix = table.matrix
    signs = jnp.asarray(balanced_signs(len(matrix)))
    best = jax.vmap(lambda row: signed_form(matrix, row))(signs).max()
    return Sides(median_form(table), best, jnp.trace(matrix) + 1e-300)


def _rank_one(table: TaskTable) -> jnp.ndarray:
    eigenvalues = jnp.linalg.eigvalsh(double_centred(table.matrix))
    return jnp.abs(eigenvalues[:-1]).max() <= 1e-9 * eigenvalues[-1]


def _draw(rng: np.random.Generator, n: int) -> Batch:
    return {"places": student(rng, (n, 8)), "along": rng.standard_normal((n, 3)), "mean": rng.standard_normal((n, 3))}


def _build(drawn: Batch) -> TaskTable:
    return TaskTable(jnp.outer(drawn["places"], drawn["along"]) + drawn["mean"][None, :], jnp.eye(3))


def _equal_sizes(rng: np.random.Generator) -> Outcome:
    signs = np.repeat([1.0, -1.0], 4)
    matrix = jnp.asarray(np.outer(signs, signs))
    ratio = float(signed_form(matrix, jnp.asarray(signs)) / expected_random_form(matrix))
    return Outcome(abs(ratio - 7) < 1e-12, f"ratio {ratio:.12g} = N − 1 at N = 8")


PROPOSITION = Proposition(
    id="prop-f.12-rank-one",
    reference="Proposition F.12 (1)",
    statement="With a single conflict direction the median split is the best of all balanced splits; for entries of "
    "equal size it has N − 1 times the random mean.",
    scope="one-step",
    verdict="holds",
    claim=Claim(
        reads="sᵀMs = max over balanced splits",
        sides=_sides,
        relation="=",
        hypotheses=(Hypothesis("PMP has rank one", _rank_one, without=FOUR_TASKS),),
        ensembles=(Ensemble(_draw, _build),),
        tolerance=1e-9,
    ),
    demonstrations=(Demonstration("four tasks against four", _equal_sizes),),
)
