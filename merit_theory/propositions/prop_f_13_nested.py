"""Proposition F.13: finer nested splits at equal steps."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from merit_theory.ensembles import TaskTable, tables
from merit_theory.propositions.prop_f_11 import positive_semi_definite
from merit_theory.propositions.proposition import (
    Batch,
    Claim,
    Demonstration,
    Ensemble,
    Hypothesis,
    Numbers,
    Outcome,
    Proposition,
    Sides,
)
from merit_theory.recursive_split import expected_random_level_gains, level_gains


class NestedSplit(NamedTuple):
    """Eight tasks and an order of them, whose stretches are nested groups.

    Attributes:
        table: the tasks.
        order: int64 [8].
    """

    table: TaskTable
    order: Int[Numbers, " 8"]


def _sides(split: NestedSplit) -> Sides:
    gains = level_gains(split.table.matrix, split.order, 3, 1.0, "steps")
    return Sides(gains[1:], gains[:-1], jnp.abs(gains).max() + 1e-300)


TABLES = tables(8)


def _draw(rng: np.random.Generator, n: int) -> Batch:
    return TABLES.draw(rng, n) | {"order": rng.permuted(np.broadcast_to(np.arange(8), (n, 8)), axis=1)}


def _build(drawn: Batch) -> NestedSplit:
    return NestedSplit(TABLES.build(drawn), drawn["order"])


def _random_nesting(rng: np.random.Generator) -> Outcome:
    """Random nested splits grow as K − 1: monotony says nothing for the rule that found the groups."""
    gains = expected_random_level_gains(jnp.eye(8), 3, 1.0, "steps").tolist()
    ratios = [gain / gains[0] for gain in gains]
    return Outcome(np.allclose(ratios, [1, 3, 7], rtol=1e-12), "relative mean gain of 2, 4, 8 random groups: 1, 3, 7")


DESCENDING = TaskTable(np.array([[1.0]] * 4 + [[-1.0], [-1.0], [1.0], [1.0]]), -np.eye(1))

PROPOSITION = Proposition(
    id="prop-f.13-nested",
    reference="Proposition F.13, monotony",
    statement="At equal steps a finer nested split never has a smaller gain, whatever rule nests it.",
    scope="one-step",
    verdict="holds",
    claim=Claim(
        reads="G_2K ≥ G_K",
        sides=_sides,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "the Hessian is positive semi-definite",
                lambda split: positive_semi_definite(split.table),
                without=NestedSplit(DESCENDING, np.arange(8)),
            ),
        ),
        ensembles=(Ensemble(_draw, _build),),
        tolerance=1e-12,
    ),
    demonstrations=(Demonstration("it holds for random nesting too", _random_nesting),),
)
