"""Proposition F.11, worst case: how far the split along the first axis can be from the best one."""

import jax
import jax.numpy as jnp
import numpy as np

from merit_theory.ensembles import TaskTable, balanced_signs, tables
from merit_theory.propositions.prop_f_11 import median_form, positive_semi_definite
from merit_theory.propositions.proposition import Claim, Demonstration, Hypothesis, Outcome, Proposition, Sides
from merit_theory.split_gain import signed_form

N_TASKS = 6


def _sides(table: TaskTable) -> Sides:
    matrix = table.matrix
    best = jax.vmap(lambda signs: signed_form(matrix, signs))(jnp.asarray(balanced_signs(N_TASKS))).max()
    return Sides(median_form(table), best / (N_TASKS - 1), jnp.abs(best) + 1e-300)


def _spike(rng: np.random.Generator) -> Outcome:
    """Along a single spike all balanced splits are equal, and ‖v − med‖₁² is the least that it can be, N/(N−1)."""
    spike = np.array([N_TASKS - 1.0] + [-1.0] * (N_TASKS - 1))
    unit = spike / np.linalg.norm(spike)
    forms = [float(signs @ spike) ** 2 for signs in balanced_signs(N_TASKS)]
    length = float(np.abs(unit - np.median(unit)).sum() ** 2)
    generic = rng.standard_normal((20_000, N_TASKS))
    generic -= generic.mean(axis=1, keepdims=True)
    generic /= np.linalg.norm(generic, axis=1, keepdims=True)
    least = float((np.abs(generic - np.median(generic, axis=1, keepdims=True)).sum(axis=1) ** 2).min())
    numbers = f"spike {length:.6f} = N/(N−1), least of 20,000 random axes {least:.4f}"
    return Outcome(np.ptp(forms) < 1e-9 and abs(length - N_TASKS / (N_TASKS - 1)) < 1e-12 <= least - length, numbers)


PROPOSITION = Proposition(
    id="prop-f.11-optimum",
    reference="Proposition F.11, worst case, of this project",
    statement="The median split along the first axis of PMP has at least 1/(N−1) of the largest sᵀMs.",
    scope="one-step",
    verdict="holds",
    claim=Claim(
        reads="sᵀMs ≥ max sᵀMs/(N−1)",
        sides=_sides,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "the Hessian is positive semi-definite",
                positive_semi_definite,
                without=TaskTable(
                    np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0], [-1.0, -1.0]]),
                    np.diag([1.0, -2.0]),
                ),
            ),
        ),
        ensembles=(tables(N_TASKS),),
    ),
    demonstrations=(Demonstration("the least axis is a spike", _spike),),
)
