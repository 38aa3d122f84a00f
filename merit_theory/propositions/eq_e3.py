"""Equation E3: how far τ steps are from τ times the first gradient."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from merit_theory.linear_quadratic import effective_steps, gradient_descent, gradient_descent_closed_form
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
from merit_theory.quick_jit import quick_jit


class Descent(NamedTuple):
    """Gradient descent along eigendirections.

    Attributes:
        progress: float64 [d], x = ηλ of each.
        steps: int64, τ.
    """

    progress: Float[Numbers, " d"]
    steps: Int[Numbers, ""]


def _sides(descent: Descent) -> Sides:
    """Lower and upper bound of τ − φ_τ, in units of τ."""
    tau = descent.steps.astype(jnp.float64)
    missing = tau - effective_steps(descent.progress, descent.steps)
    bound = 0.5 * tau * (tau - 1) * descent.progress
    return Sides(jnp.stack([missing, bound]), jnp.stack([jnp.zeros_like(missing), missing]), tau * tau)


def _draw(rng: np.random.Generator, n: int, d: int = 4) -> Batch:
    return {"angle": rng.uniform(0.0, np.pi, (n, d)), "steps": rng.integers(1, 61, n)}


def _build(drawn: Batch) -> Descent:
    return Descent(1 - jnp.cos(drawn["angle"]), drawn["steps"])


def _unrolled(rng: np.random.Generator) -> Outcome:
    """Closed form against τ explicit steps, up to and beyond the edge."""
    worst = 0.0
    factor = rng.standard_normal((4, 4))
    hessian, gradient = factor @ factor.T, jnp.asarray(rng.standard_normal(4))
    largest = np.linalg.eigvalsh(hessian)[-1]
    both = quick_jit(
        lambda rate: [
            descend(hessian, gradient, rate, 60) for descend in (gradient_descent, gradient_descent_closed_form)
        ]
    )
    for x in (0.01, 0.5, 1.0, 2.0, 2.2):
        stepped, closed = both(x / largest)
        worst = max(worst, float(jnp.abs(stepped - closed).max() / jnp.abs(stepped).max()))
    return Outcome(worst < 1e-10, f"largest relative difference {worst:.1e} at ηλ_max up to 2.2, τ = 60")


PROPOSITION = Proposition(
    id="eq-e3",
    reference="Eq. (E3)",
    statement="δ = −ητg + R along every eigendirection, with 0 ≤ |R_ℓ| ≤ ½(τ−1)ηλ_ℓ·ητ|g_ℓ|; so the first-order model "
    "needs (τ−1)ηλ ≪ 1, and training does not follow τ times its first gradient exactly.",
    scope="exact",
    verdict="holds",
    claim=Claim(
        reads="½τ(τ−1)x ≥ τ − φ_τ(x) ≥ 0",
        sides=_sides,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "no curvature is negative",
                lambda descent: descent.progress.min() >= 0,
                without=Descent(np.array([-1.0]), np.array(3)),
            ),
            Hypothesis(
                "ηλ ≤ 2",
                lambda descent: descent.progress.max() <= 2,
                without=Descent(np.array([4.0]), np.array(6)),
            ),
        ),
        ensembles=(Ensemble(_draw, _build),),
        tight=Descent(np.array([0.7]), np.array(1)),
    ),
    demonstrations=(Demonstration("δ = −ηφ_τ(ηH)g is what τ steps do", _unrolled),),
)
