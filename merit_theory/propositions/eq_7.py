"""Equation 7: the gain of a two-way split as a quadratic form in its signs."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from merit_theory.ensembles import TaskTable, tables
from merit_theory.merging import merging_gain
from merit_theory.propositions.proposition import Batch, Claim, Ensemble, Hypothesis, Numbers, Proposition, Sides
from merit_theory.split_gain import signed_form, split_gain


class SignedSplit(NamedTuple):
    """Task gradients and a split of the tasks into two groups.

    Attributes:
        table: the tasks.
        signs: float64 [n], ±1.
    """

    table: TaskTable
    signs: Float[Numbers, " n"]


def _sides(split: SignedSplit) -> Sides:
    """The gain of two branches after one unit step, merged by their shares, against the two forms."""
    gradients, hessian = split.table
    upper = (1 + split.signs) / 2
    members = jnp.stack([upper, 1 - upper])
    sizes = members.sum(axis=1)
    branches = -(members @ gradients) / sizes[:, None]
    gain = merging_gain(hessian, branches, sizes / sizes.sum())
    matrix = split.table.matrix
    n = len(split.signs)
    forms = jnp.stack([signed_form(matrix, split.signs) / (2 * n**2), split_gain(matrix, split.signs, 1.0)])
    return Sides(jnp.stack([gain, gain]), forms, jnp.abs(matrix).max() + 1e-300)


N_TASKS = 6
TABLES = tables(N_TASKS)


def _draw(rng: np.random.Generator, n: int) -> Batch:
    order = rng.permuted(np.broadcast_to(np.arange(N_TASKS), (n, N_TASKS)), axis=1)
    return TABLES.draw(rng, n) | {"order": order}


def _build(drawn: Batch) -> SignedSplit:
    return SignedSplit(TABLES.build(drawn), jnp.where(drawn["order"] < N_TASKS // 2, 1.0, -1.0))


PROPOSITION = Proposition(
    id="eq-7",
    reference="Eq. (7), appendix F.5",
    statement="One step of a balanced split has the gain η²/(2N²)·sᵀMs, for centred and uncentred gradients alike.",
    scope="one-step",
    verdict="holds",
    claim=Claim(
        reads="G = η²/(2N²)·sᵀMs = η²/(8n₁n₂)·sᵀPMPs",
        sides=_sides,
        relation="=",
        hypotheses=(
            Hypothesis(
                "the split is balanced",
                lambda split: jnp.abs(split.signs.sum()) < 0.5,
                without=SignedSplit(
                    TaskTable(np.array([[3.0], [-1.0], [-1.0], [-1.0]]), np.eye(1)), np.array([1.0, -1.0, -1.0, -1.0])
                ),
            ),
        ),
        ensembles=(Ensemble(_draw, _build),),
        tolerance=1e-11,
    ),
)
