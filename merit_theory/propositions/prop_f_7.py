"""Proposition F.7: the gain of a random split of the rectangle."""

import jax.numpy as jnp

from merit_theory.propositions.proposition import Claim, Hypothesis, Proposition, Sides
from merit_theory.propositions.rectangle import RECTANGLES, Rectangle, one_step, rectangle
from merit_theory.spectral_filter import filtered_task_matrix
from merit_theory.split_gain import expected_random_gain


def _sides(instance: Rectangle) -> Sides:
    """The mean over the splits twice, and the lead of S₁ over it, which is positive exactly if 2h₁³α² > h₂³β²."""
    first, second = instance.learning_rate**2 * instance.curvatures**3 * instance.sides**2
    gains = instance.gains()
    matrix = filtered_task_matrix(instance.curvatures, instance.optima, instance.learning_rate, instance.steps)
    found = jnp.stack([gains.mean(), expected_random_gain(matrix, 2, 1.0), gains[0] - gains.mean()])
    return Sides(found, jnp.stack([first + second, first + second, 2 * first - second]) / 6, instance.scale())


PROPOSITION = Proposition(
    id="prop-f.7",
    reference="Proposition F.7",
    statement="A random balanced split of the rectangle gains a third of the sum over splits, (η²/6)(h₁³α² + h₂³β²); "
    "the first split gains more exactly if 2h₁³α² > h₂³β².",
    scope="one-step",
    verdict="holds",
    claim=Claim(
        reads="E G = (η²/6)(h₁³α² + h₂³β²), G(S₁) − E G = (η²/6)(2h₁³α² − h₂³β²)",
        sides=_sides,
        relation="=",
        hypotheses=(
            Hypothesis("branches make one step", one_step, without=rectangle((2.0, 1.0), (1.0, 1.5), 0.25, 10)),
        ),
        ensembles=(RECTANGLES,),
        tolerance=1e-12,
    ),
)
