"""Proposition F.6: in the rectangle, the split along the sharp and wide direction has the largest gain."""

import jax
import jax.numpy as jnp
import numpy as np
import sympy

from merit_theory.propositions.proposition import Claim, Demonstration, Hypothesis, Outcome, Proposition, Sides
from merit_theory.propositions.rectangle import RECTANGLES, Rectangle, one_step, rectangle, sharp_first
from merit_theory.quick_jit import quick_jit


def _sides(instance: Rectangle) -> Sides:
    gains = instance.gains()
    return Sides(jnp.stack([gains[0], gains[0]]), gains[1:], instance.scale())


def _proof(rng: np.random.Generator) -> Outcome:
    """With h₁ = h₂ + p and h₁α = h₂β + q, the difference of gains has no negative coefficient."""
    h, beta, p, q = sympy.symbols("h beta p q", positive=True)
    sharp = h + p
    alpha = (h * beta + q) / sharp
    difference = sympy.Poly(sympy.expand(sympy.simplify(sharp**3 * alpha**2 - h**3 * beta**2)), h, beta, p, q)
    smallest = min(difference.coeffs())
    return Outcome(bool(smallest > 0), f"h₁³α² − h₂³β² = {difference.as_expr()}")


def _turning_point(rng: np.random.Generator) -> Outcome:
    """H = (2, 1), α = 1, β = 3/2, η = 1/4: which split leads after how many steps."""
    instance = rectangle((2.0, 1.0), (1.0, 1.5), 0.25)
    after = quick_jit(jax.vmap(lambda steps: instance._replace(steps=steps).gains()))
    gains = np.asarray(after(np.arange(1.0, 201.0)))
    leads = [bool(gain[0] >= gain[1]) for gain in gains]
    last = leads.index(False)
    ninth, tenth, end = gains[8], gains[9], gains[-1]
    numbers = (
        f"S₁ leads until τ = {last}; at τ = 10 {float(tenth[0]):.5f} < {float(tenth[1]):.5f}; "
        f"at convergence {float(end[0]):.4g} < {float(end[1]):.4g}"
    )
    return Outcome(last == 9 and bool(ninth[0] > ninth[1]) and not any(leads[last:]), numbers)


PROPOSITION = Proposition(
    id="prop-f.6",
    reference="Proposition F.6",
    statement="In the rectangle with h₁ ≥ h₂ and h₁α > h₂β the split along the first coordinate has the largest gain.",
    scope="one-step",
    verdict="holds with an added hypothesis",
    claim=Claim(
        reads="G(S₁) ≥ G(S₂), G(S₃)",
        sides=_sides,
        relation="≥",
        hypotheses=(
            Hypothesis("h₁ ≥ h₂", sharp_first, without=rectangle((1.0, 4.0), (5.0, 1.0))),
            Hypothesis(
                "h₁α ≥ h₂β (Eq. 8)",
                lambda instance: (
                    instance.curvatures[0] * instance.sides[0] >= instance.curvatures[1] * instance.sides[1]
                ),
                without=rectangle((4.0, 1.0), (1.0, 9.0)),
            ),
            Hypothesis(
                "branches make one step", one_step, without=rectangle((2.0, 1.0), (1.0, 1.5), 0.25, 10), added=True
            ),
        ),
        ensembles=(RECTANGLES,),
        tight=rectangle((1.0, 1.0), (1.0, 1.0)),
    ),
    demonstrations=(
        Demonstration("proof", _proof),
        Demonstration("with more steps the lead changes hands", _turning_point),
    ),
)
