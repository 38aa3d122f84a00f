"""Proposition F.9: gradient PCA as a safe stand-in for the split with the largest gain."""

import jax
import jax.numpy as jnp
import numpy as np

from merit_theory.ensembles import TaskTable, balanced_signs
from merit_theory.propositions.proposition import Claim, Demonstration, Hypothesis, Outcome, Proposition, Sides
from merit_theory.propositions.rectangle import RECTANGLES, Rectangle, one_step, rectangle, sharp_first
from merit_theory.split_gain import expected_random_form, leading_axis, median_split, signed_form

N_TASKS = 8


def _against_optimum(table: TaskTable) -> Sides:
    """The median split of the Gram matrix's first axis against the best balanced split."""
    matrix = table.matrix
    chosen = median_split(leading_axis(table.gradients @ table.gradients.T)[1])
    best = jax.vmap(lambda signs: signed_form(matrix, signs))(jnp.asarray(balanced_signs(N_TASKS))).max()
    return Sides(signed_form(matrix, chosen), best, best)


def _in_rectangle(instance: Rectangle) -> Sides:
    """The gain of the split that gradient PCA picks against the largest gain."""
    gains = instance.gains()
    spread = instance.curvatures * instance.sides
    picked = jnp.where(spread[0] >= spread[1], gains[0], gains[1])
    return Sides(picked, gains.max(), instance.scale())


EIGHT_TASKS = TaskTable(
    -np.stack([[7.0, 1, 1, 1, -1, -1, -1, -7], 5.0 * np.array([1, -1, 1, -1, 1, -1, -1, 1])], axis=1) * [3.0, 2.0],
    np.diag([3.0, 2.0]),
)


def _eight_tasks(rng: np.random.Generator) -> Outcome:
    gradients = EIGHT_TASKS.gradients
    matrix = np.asarray(EIGHT_TASKS.matrix)
    forms = [float(signs @ matrix @ signs) for signs in balanced_signs(N_TASKS)]
    diagonal = np.diagonal(gradients.T @ gradients)
    mean = float(expected_random_form(matrix))
    numbers = (
        f"Gram {diagonal[0]:.0f} > {diagonal[1]:.0f}, best form {max(forms):.0f}, random mean {mean:.2f} = 35264/7"
    )
    exact = diagonal.tolist() == [936.0, 800.0] and round(max(forms)) == 12800
    return Outcome(bool(exact and abs(mean - 35264 / 7) < 1e-8 and abs(np.mean(forms) - mean) < 1e-8), numbers)


PROPOSITION = Proposition(
    id="prop-f.9",
    reference="Proposition F.9",
    statement="Splitting along the first axis of gradient PCA has the largest gain.",
    scope="one-step",
    verdict="false as stated",
    claim=Claim(
        reads="sᵀMs(gradient PCA) ≥ max over balanced splits",
        sides=_against_optimum,
        relation="≥",
        refutations=(EIGHT_TASKS,),
    ),
    corrected=Claim(
        reads="in the rectangle, if gradient PCA picks the sharp direction: G(gradient PCA) ≥ max G",
        sides=_in_rectangle,
        relation="≥",
        hypotheses=(
            Hypothesis("h₁ ≥ h₂", sharp_first, without=rectangle((1.0, 4.0), (5.0, 1.0))),
            Hypothesis(
                "gradient PCA picks the first coordinate",
                lambda instance: (
                    instance.curvatures[0] * instance.sides[0] >= instance.curvatures[1] * instance.sides[1]
                ),
                without=rectangle((4.0, 1.0), (1.0, 5.0)),
            ),
            Hypothesis("branches make one step", one_step, without=rectangle((2.0, 1.0), (1.0, 1.5), 0.25, 10)),
        ),
        ensembles=(RECTANGLES,),
        tight=rectangle((2.0, 1.0), (1.0, 1.0)),
    ),
    demonstrations=(Demonstration("eight tasks under diag(3, 2) in exact numbers", _eight_tasks),),
)
