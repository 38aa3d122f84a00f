"""Proposition F.11: a lower bound for the split along the first axis, before and after it is balanced."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import sympy

from merit_theory.ensembles import TaskTable, balanced_signs, tables
from merit_theory.propositions.proposition import Claim, Demonstration, Hypothesis, Outcome, Proposition, Sides
from merit_theory.split_gain import (
    double_centred,
    leading_axis,
    median_bound,
    median_split,
    sign_bound,
    signed_form,
)

FOUR_TASKS = TaskTable(np.array([[2.0, 3.0], [2.0, -4.0], [0.0, 1.0], [-4.0, 0.0]]), np.eye(2))
"""Optima (−2, −3), (−2, 4), (0, −1), (4, 0) under the unit Hessian."""


def positive_semi_definite(table: TaskTable) -> Any:
    """Whether the Hessian has no negative eigenvalue."""
    eigenvalues = jnp.linalg.eigvalsh(table.hessian)
    return eigenvalues[0] >= -1e-12 * jnp.abs(eigenvalues).max()


def median_form(table: TaskTable) -> Any:
    """sᵀMs of the median split along the first axis of PMP."""
    matrix = table.matrix
    return signed_form(matrix, median_split(leading_axis(matrix)[1]))


def _size(table: TaskTable) -> Any:
    return len(table.gradients) * jnp.trace(jnp.abs(double_centred(table.matrix))) + 1e-300


def _paper(table: TaskTable) -> Sides:
    return Sides(median_form(table), sign_bound(table.matrix), _size(table))


def _corrected(table: TaskTable) -> Sides:
    return Sides(median_form(table), median_bound(table.matrix), _size(table))


def _exact(rng: np.random.Generator) -> Outcome:
    """The four tasks: forms 52, 68, 80; μ₁ = 25 + √5; the paper's bound lies above 52, the corrected one below."""
    optima = np.array([[-2, -3], [-2, 4], [0, -1], [4, 0]])
    matrix = optima @ optima.T
    forms = sorted(int(signs @ matrix @ signs) for signs in balanced_signs(4).astype(np.int64))
    root: Any = sympy.sqrt(5)
    top = root + 25
    axis: list[Any] = [2 * x - (1 + root) * y for x, y in optima.tolist()]
    residual = [sympy.expand(sum(int(m) * v for m, v in zip(row, axis, strict=True))) for row in matrix]
    is_eigenvector = residual == [sympy.expand(top * entry) for entry in axis]
    squares = sum(entry**2 for entry in axis)
    absolute = sum(abs(entry) for entry in axis)
    ordered: list[Any] = sorted(axis, key=lambda entry: float(entry))
    about_median = ordered[3] + ordered[2] - ordered[1] - ordered[0]
    paper, corrected = (sympy.simplify(top * length**2 / squares) for length in (absolute, about_median))
    holds = forms == [52, 68, 80] and is_eigenvector and bool(paper > 52) and bool(corrected <= 52)
    numbers = f"forms {forms}, mean {sympy.Rational(sum(forms), 3)}; paper's bound {float(paper):.4f}"
    return Outcome(holds, f"{numbers}, corrected {float(corrected):.4f}")


PROPOSITION = Proposition(
    id="prop-f.11",
    reference="Proposition F.11, Eq. (9)",
    statement="The balanced split along the first eigenvector has sᵀMs ≥ μ₁‖v₁‖₁².",
    scope="one-step",
    verdict="false as stated",
    claim=Claim(
        reads="sᵀMs ≥ μ₁‖v₁‖₁²",
        sides=_paper,
        relation="≥",
        hypotheses=(Hypothesis("the Hessian is positive semi-definite", positive_semi_definite),),
        refutations=(FOUR_TASKS,),
    ),
    corrected=Claim(
        reads="sᵀMs ≥ μ₁‖v₁ − med(v₁)‖₁²",
        sides=_corrected,
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
    demonstrations=(Demonstration("four tasks in exact numbers", _exact),),
)
