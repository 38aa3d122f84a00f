"""The step from contraction to "closer to the start than joint training", which contraction does not give."""

from fractions import Fraction

import jax.numpy as jnp
import numpy as np

from merit_theory.ensembles import TaskQuadratics, scalar_tasks, task_quadratics
from merit_theory.propositions.proposition import Claim, Demonstration, Hypothesis, Outcome, Proposition, Sides
from merit_theory.propositions.theorem_a import BRANCHES_WEIGH_THEIR_SHARE, EQUAL_STEPS, shared_hessian
from merit_theory.quick_jit import quick_jit

TWO_CURVATURES = scalar_tasks([1.0, 2.0], [-1.0, 0.5], [[0], [1]], learning_rate=0.5, steps=2)
"""Gradients 1 and −1 at the start: the joint run never moves."""


def _sides(tasks: TaskQuadratics) -> Sides:
    scale = jnp.abs(tasks.branches()).max() + jnp.abs(tasks.joint()).max()
    return Sides(jnp.linalg.norm(tasks.joint()), jnp.linalg.norm(tasks.merged()), scale)


def _exact_descent(rng: np.random.Generator) -> Outcome:
    """The instance in rational arithmetic."""
    rate, ends = Fraction(1, 2), []
    for curvature, optimum in ((Fraction(1), Fraction(-1)), (Fraction(2), Fraction(1, 2))):
        place = Fraction(0)
        for _ in range(2):
            place -= rate * curvature * (place - optimum)
        ends.append(place)
    merged = sum(ends) / 2
    library = float(quick_jit(TaskQuadratics.merged)(TWO_CURVATURES)[0])
    return Outcome(
        merged == Fraction(-1, 8) and library == float(merged), f"branches {ends[0]}, {ends[1]}; merged {merged}"
    )


PROPOSITION = Proposition(
    id="eq-e2-joint",
    reference="appendix F.5 and the poster, after Eq. (E2)",
    statement="The merged model stays closer to the start than the jointly trained one.",
    scope="exact",
    verdict="false as stated",
    claim=Claim(
        reads="‖θ_joint − θ⁰‖ ≥ ‖θ̄ − θ⁰‖",
        sides=_sides,
        relation="≥",
        hypotheses=(BRANCHES_WEIGH_THEIR_SHARE, EQUAL_STEPS),
        refutations=(TWO_CURVATURES,),
    ),
    corrected=Claim(
        reads="‖θ_joint − θ⁰‖ = ‖θ̄ − θ⁰‖",
        sides=_sides,
        relation="=",
        hypotheses=(
            Hypothesis("all tasks share one Hessian", shared_hessian, without=TWO_CURVATURES, added=True),
            BRANCHES_WEIGH_THEIR_SHARE,
            EQUAL_STEPS,
        ),
        ensembles=(task_quadratics(shared_hessian=True),),
        tolerance=1e-11,
    ),
    demonstrations=(
        Demonstration(
            "two tasks with curvatures 1, 2 move the merge to −1/8 and the joint run nowhere", _exact_descent
        ),
    ),
)
