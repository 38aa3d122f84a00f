"""Theorem B for shuffled epochs: one pass leaves less noise, and for short training almost none."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from merit_theory.propositions.proposition import Claim, Demonstration, Hypothesis, Outcome, Proposition, Sides
from merit_theory.propositions.theorem_b import (
    INDEPENDENT,
    OWN_HESSIANS,
    SHUFFLED,
    SgdTasks,
    ensemble,
    enumerated_loss,
    law,
    line,
    shared,
)
from merit_theory.sgd_law import one_pass_factor, spread_reshuffled, spread_with_replacement


def _sides(tasks: SgdTasks) -> Sides:
    exact = enumerated_loss(tasks)
    return Sides(exact, law(tasks, 3), exact)


def _each_once(tasks: SgdTasks) -> Array:
    return (jnp.sort(tasks.orders, axis=1) == jnp.arange(3)[None, :]).all()


def _factor(rng: np.random.Generator) -> Outcome:
    """Exact ratio of the two spreads for a pass of 4,096 steps against its limit, by the pass's progress X = ητλ."""
    progress = jnp.array([0.1, 1.0, 5.0, 30.0])
    steps = 4096
    shuffled = np.asarray(spread_reshuffled(progress / steps, steps, steps))
    ratio = shuffled / np.asarray(spread_with_replacement(progress / steps, steps))
    limit = np.asarray(one_pass_factor(progress))
    numbers = ", ".join(f"{r:.4f} ({x:g})" for r, x in zip(ratio, progress, strict=True))
    return Outcome(
        bool(np.allclose(ratio, limit, rtol=5e-3)),
        f"{numbers}; 1 − (2/X)tanh(X/2) within {np.abs(ratio / limit - 1).max():.1e}",
    )


PROPOSITION = Proposition(
    id="theorem-b-one-pass",
    reference="Theorem B of this project, for shuffled epochs",
    statement="Where every task comes once in random order, the between-task noise is that with replacement times "
    "about 1 − (2/X)tanh(X/2), X = ητλ; so K₀ is the objective only for X well above one.",
    scope="exact",
    verdict="holds",
    claim=Claim(
        reads="E L(θ̄) = bias(2τ) + Σ_ℓ noise of one pass, against all 6² pairs of orders",
        sides=_sides,
        relation="=",
        hypotheses=(
            Hypothesis("all tasks share one Hessian", shared, without=line(SHUFFLED, OWN_HESSIANS)),
            Hypothesis("every task comes once", _each_once, without=line(INDEPENDENT)),
        ),
        ensembles=(ensemble(SHUFFLED),),
        tolerance=1e-11,
    ),
    demonstrations=(Demonstration("noise of one pass over noise with replacement (at X)", _factor),),
)
