"""Proposition F.10: the gain of a random balanced split."""

import jax
import jax.numpy as jnp
import numpy as np

from merit_theory.ensembles import TaskTable, balanced_signs, tables
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
from merit_theory.split_gain import expected_random_form, signed_form

N_TASKS = 8
TABLES = tables(N_TASKS)


def _sides(table: TaskTable) -> Sides:
    """The mean over all 35 splits against the paper's N/(N−1)·tr M and the library's N/(N−1)·tr PMP."""
    matrix = table.matrix
    forms = jax.vmap(lambda signs: signed_form(matrix, signs))(jnp.asarray(balanced_signs(len(matrix))))
    paper = len(matrix) / (len(matrix) - 1) * jnp.trace(matrix)
    return Sides(jnp.full(2, forms.mean()), jnp.stack([paper, expected_random_form(matrix)]), jnp.trace(matrix))


def _build(drawn: Batch) -> TaskTable:
    table = TABLES.build(drawn)
    return table._replace(gradients=table.gradients - table.gradients.mean(axis=0)[None, :])


def _second_moments(rng: np.random.Generator) -> Outcome:
    """E[ssᵀ] = N/(N−1)·P as an identity of whole numbers, over all splits of 4 to 12 tasks."""
    counted = []
    for n in (4, 6, 8, 10, 12):
        signs = balanced_signs(n).astype(np.int64)
        left, right = (n - 1) * signs.T @ signs, len(signs) * (n * np.eye(n, dtype=np.int64) - 1)
        counted.append(len(signs) if np.array_equal(left, right) else 0)
    return Outcome(counted == [3, 10, 35, 126, 462], f"exact over {counted} splits of 4, 6, 8, 10, 12 tasks")


PROPOSITION = Proposition(
    id="prop-f.10",
    reference="Proposition F.10",
    statement="A random balanced split has E sᵀMs = N/(N−1)·tr M.",
    scope="one-step",
    verdict="holds",
    claim=Claim(
        reads="E sᵀMs = N/(N−1)·tr M",
        sides=_sides,
        relation="=",
        hypotheses=(
            Hypothesis(
                "the task gradients have mean zero",
                lambda table: jnp.abs(table.gradients.mean(axis=0)).max() <= 1e-9 * jnp.abs(table.gradients).max(),
                without=TaskTable(np.array([[1.0], [1.0], [1.0], [1.0]]), np.eye(1)),
            ),
        ),
        ensembles=(Ensemble(TABLES.draw, _build),),
        tolerance=1e-12,
    ),
    demonstrations=(Demonstration("E[ssᵀ] = N/(N−1)·P", _second_moments),),
)
