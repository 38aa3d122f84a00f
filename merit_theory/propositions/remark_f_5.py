"""Remark F.5: the covariance of task gradients is that of their optima, seen through the Hessian twice."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from merit_theory.ensembles import TaskQuadratics, scalar_tasks, task_quadratics
from merit_theory.propositions.proposition import Claim, Hypothesis, Proposition, Sides
from merit_theory.propositions.theorem_a import shared_hessian


def _covariance(rows: Float[Array, "n d"]) -> Float[Array, "d d"]:
    centred = rows - rows.mean(axis=0)[None, :]
    return centred.T @ centred / len(rows)


def _sides(tasks: TaskQuadratics) -> Sides:
    """At any start, because a shared Hessian moves all gradients by the same vector."""
    hessian = tasks.hessians.mean(axis=0)
    gradients = _covariance(tasks.model.task_gradients(tasks.start))
    return Sides(
        gradients, hessian @ _covariance(tasks.optima) @ hessian, jnp.abs(hessian).max() ** 2 * (tasks.optima**2).sum()
    )


PROPOSITION = Proposition(
    id="remark-f.5",
    reference="Remark F.5",
    statement="Under one Hessian the covariance of the task gradients is HΣ_aH, with Σ_a that of the task optima.",
    scope="exact",
    verdict="holds",
    claim=Claim(
        reads="Cov(g) = HΣ_aH",
        sides=_sides,
        relation="=",
        hypotheses=(
            Hypothesis(
                "all tasks share one Hessian",
                shared_hessian,
                without=scalar_tasks([1.0, 3.0], [1.0, -1.0], [[0], [1]], learning_rate=0.5, steps=1)._replace(
                    start=np.ones(1)
                ),
            ),
        ),
        ensembles=(task_quadratics(shared_hessian=True),),
        tolerance=1e-12,
    ),
)
