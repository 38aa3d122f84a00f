"""What a statement is here: two sides to compare, the hypotheses under which they compare so, and a verdict.

A claim is never prose. It is a function from an instance to two numbers (or arrays of them), and its slack is how far
the comparison is from failing: at least zero where the claim holds, negative or undefined where it does not. Every
hypothesis of a claim that stands carries an instance that violates it alone and the claim with it: none is idle.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

Instance = Any
"""A pytree of arrays, one dataclass or named tuple per kind of instance; every statement says which it takes."""

Numbers = Any
"""The arrays of an instance: NumPy's as it is stored, JAX's once a claim is traced on it."""

Batch = Any
"""Instances, or the numbers they are built from, stacked along a leading axis of every array."""

Scope = Literal["exact", "first-order", "one-step", "conceptual"]
Verdict = Literal[
    "holds", "holds with an added hypothesis", "false as stated", "not derivable", "reproduced for another reason"
]


class Sides(NamedTuple):
    """What a claim compares on one instance.

    Attributes:
        left: number or array.
        right: number or array of the shape of ``left``.
        scale: positive number in the same unit. Differences are read relative to it, because both sides are often
            small differences of large losses.
    """

    left: Any
    right: Any
    scale: Any


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Random instances: arrays drawn by NumPy, and how one instance is built from one row of them.

    The adversary moves the drawn numbers and not the instance, so whatever ``build`` guarantees (a positive
    semi-definite Hessian, weights with sum one) survives its search. Integer arrays are left alone.
    """

    draw: Callable[[np.random.Generator, int], Batch]
    build: Callable[[Batch], Instance] = lambda drawn: drawn


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A condition of a claim.

    Attributes:
        reads: the condition in words.
        holds: predicate on an instance.
        without: an instance that violates this condition alone and on which the claim fails. A claim that should stand
            needs one for each of its conditions; of a claim that is refuted with its conditions met, nobody asks.
        added: whether the paper leaves it out.
    """

    reads: str
    holds: Callable[[Instance], Any]
    without: Instance | None = None
    added: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Two sides and their relation on every instance that satisfies the hypotheses.

    Attributes:
        reads: the comparison in symbols.
        sides: the two sides on one instance, by the functions of `merit_theory` that everything else uses.
        relation: ``=`` or ``≥``, entry by entry.
        hypotheses: all of them are needed.
        ensembles: where instances come from that satisfy the hypotheses; none for a claim that is only refuted.
        refutations: instances that satisfy the hypotheses and not the claim.
        tight: an instance on which an inequality is an equality.
        tolerance: rounding allowed, relative to the scale of the sides.
        engine: ``jax`` if sides and hypotheses can be traced, so that batches and descent are possible; ``numpy`` else.
    """

    reads: str
    sides: Callable[[Instance], Sides]
    relation: Literal["=", "≥"]
    hypotheses: tuple[Hypothesis, ...] = ()
    ensembles: tuple[Ensemble, ...] = ()
    refutations: tuple[Instance, ...] = ()
    tight: Instance | None = None
    tolerance: float = 1e-10
    engine: Literal["jax", "numpy"] = "jax"

    def slack(self, instance: Instance) -> Any:
        """How far the comparison is from failing, in units of the scale; a float or a traced scalar."""
        left, right, scale = self.sides(instance)
        array = jnp if self.engine == "jax" else np
        margin = (array.asarray(left) - array.asarray(right)) / scale
        return array.min(-array.abs(margin) if self.relation == "=" else margin) + self.tolerance


class Outcome(NamedTuple):
    """What a demonstration found: whether it shows what it says, and the numbers."""

    holds: bool
    numbers: str


@dataclass(frozen=True, slots=True)
class Demonstration:
    """Evidence that is no comparison on random instances: a proof, an enumeration, a simulation."""

    shows: str
    run: Callable[[np.random.Generator], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposition:
    """A statement of the paper, or of this project, with the verdict that running it must reproduce.

    Attributes:
        id: short name, as in ``prop-f.11``.
        reference: where it stands.
        statement: one sentence.
        scope: in which model it is meant.
        verdict: what became of it.
        claim: the statement as a claim; it must survive every attack if the verdict is that it holds, and else be
            refuted by its stored instances.
        corrected: what holds in its place.
        demonstrations: further evidence; all of it must come out as it says.
    """

    id: str
    reference: str
    statement: str
    scope: Scope
    verdict: Verdict
    claim: Claim | None = None
    corrected: Claim | None = None
    demonstrations: tuple[Demonstration, ...] = ()
