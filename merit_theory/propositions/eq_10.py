"""Equation 10: when the split along the first axis beats a random one."""

import jax.numpy as jnp
import numpy as np

from merit_theory.ensembles import TaskTable
from merit_theory.propositions.prop_f_11 import FOUR_TASKS, median_form
from merit_theory.propositions.proposition import Batch, Claim, Ensemble, Hypothesis, Proposition, Sides
from merit_theory.split_gain import expected_random_form, median_bound, ratio_to_random, sign_bound


def _sides(table: TaskTable) -> Sides:
    expected = expected_random_form(table.matrix)
    return Sides(median_form(table), expected, expected)


def _draw(rng: np.random.Generator, n: int, n_tasks: int = 8, d: int = 4) -> Batch:
    minor = rng.choice([0.03, 0.1, 0.3], (n, 1, 1))
    gradients = rng.standard_normal((n, n_tasks, d)) * np.concatenate([np.ones((n, 1, 1)), *[minor] * (d - 1)], axis=2)
    return {"gradients": gradients, "mean": rng.standard_normal((n, d))}


def _build(drawn: Batch) -> TaskTable:
    """Gradients that differ mostly along one direction, around any mean."""
    return TaskTable(drawn["gradients"] + drawn["mean"][None, :], jnp.eye(drawn["mean"].size))


PROPOSITION = Proposition(
    id="eq-10",
    reference="Eq. (10)",
    statement="Where μ₁‖v₁‖₁²/tr M > N/(N−1), the balanced split along the first axis gains more than a random one.",
    scope="one-step",
    verdict="false as stated",
    claim=Claim(
        reads="sᵀMs ≥ E sᵀMs",
        sides=_sides,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "Eq. (10): μ₁‖v₁‖₁²/tr M > N/(N−1)",
                lambda table: ratio_to_random(table.matrix, sign_bound(table.matrix)) > 1,
            ),
        ),
        refutations=(FOUR_TASKS,),
    ),
    corrected=Claim(
        reads="sᵀMs ≥ E sᵀMs",
        sides=_sides,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "Eq. (10′): μ₁‖v₁ − med(v₁)‖₁²/tr PMP > N/(N−1)",
                lambda table: ratio_to_random(table.matrix, median_bound(table.matrix)) > 1,
                without=FOUR_TASKS,
            ),
        ),
        ensembles=(Ensemble(_draw, _build),),
    ),
)
