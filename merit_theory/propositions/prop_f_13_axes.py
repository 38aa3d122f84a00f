"""Proposition F.13: what r axes of PCA account for."""

import jax.numpy as jnp
import numpy as np

from merit_theory.ensembles import TaskTable, tables
from merit_theory.propositions.prop_f_11 import FOUR_TASKS, positive_semi_definite
from merit_theory.propositions.proposition import Claim, Demonstration, Hypothesis, Outcome, Proposition, Sides
from merit_theory.quick_jit import quick_jit
from merit_theory.recursive_split import hypercube_task_matrix, level_gains
from merit_theory.split_gain import double_centred, leading_axis, median_split, signed_form


def _sides(table: TaskTable) -> Sides:
    """sᵀMs of the median split against its part along the first axis."""
    matrix = table.matrix
    eigenvalue, axis = leading_axis(matrix)
    signs = median_split(axis)
    size = len(matrix) * jnp.trace(jnp.abs(double_centred(matrix))) + 1e-300
    return Sides(signed_form(matrix, signs), eigenvalue * (signs @ axis) ** 2, size)


def _hypercube(rng: np.random.Generator) -> Outcome:
    """H = (3, 2, 1), α = 1: every level adds its own h_j³, exactly."""
    cube = quick_jit(lambda h: level_gains(hypercube_task_matrix(h, jnp.ones(3)), jnp.arange(8), 3, 1.0, "steps"))
    gains = cube(np.array([3.0, 2.0, 1.0]))
    doubled = [2 * gain for gain in gains.tolist()]
    return Outcome(
        doubled == [27.0, 35.0, 36.0], f"2G = {doubled[0]:g}, {doubled[1]:g}, {doubled[2]:g} for 2, 4, 8 groups"
    )


PROPOSITION = Proposition(
    id="prop-f.13-axes",
    reference="Proposition F.13, per-axis form",
    statement="The gain of a split along r axes is the sum of r terms, one per axis.",
    scope="one-step",
    verdict="false as stated",
    claim=Claim(reads="sᵀMs = μ₁(sᵀv₁)²", sides=_sides, relation="=", refutations=(FOUR_TASKS,)),
    corrected=Claim(
        reads="sᵀMs ≥ μ₁(sᵀv₁)²",
        sides=_sides,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "the Hessian is positive semi-definite",
                positive_semi_definite,
                without=TaskTable(np.array([[3.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [-3.0, -1.0]]), np.diag([1.0, -0.5])),
            ),
        ),
        ensembles=(tables(8),),
        tight=TaskTable(np.array([[1.0], [1.0], [-1.0], [-1.0]]), np.eye(1)),
    ),
    demonstrations=(Demonstration("tasks on the corners of a box are the exception", _hypercube),),
)
