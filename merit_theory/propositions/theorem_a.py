"""Theorem A: under one Hessian, merging equal numbers of gradient steps is joint training, whatever the partition."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from merit_theory.ensembles import TaskQuadratics, scalar_tasks, task_quadratics
from merit_theory.propositions.proposition import Claim, Hypothesis, Proposition, Sides


def shared_hessian(tasks: TaskQuadratics) -> Array:
    """Whether all tasks have the first one's Hessian."""
    return jnp.abs(tasks.hessians - tasks.hessians[:1]).max() <= 1e-12 * jnp.abs(tasks.hessians).max()


def _sides(tasks: TaskQuadratics) -> Sides:
    return Sides(tasks.merged(), tasks.joint(), jnp.abs(tasks.branches()).max() + jnp.abs(tasks.joint()).max())


UNEQUAL = scalar_tasks([1.0] * 4, [3.0, -1.0, -1.0, -1.0], [[0], [1, 2, 3]], learning_rate=0.5, steps=1)
EVEN = scalar_tasks([1.0, 1.0], [1.0, -3.0], [[0], [1]], learning_rate=0.5, steps=2)

BRANCHES_WEIGH_THEIR_SHARE = Hypothesis(
    "every branch weighs as much as its share of the tasks",
    lambda tasks: jnp.abs(tasks.merge_weights @ tasks.rows - 1 / tasks.rows.shape[1]).max() <= 1e-9,
    without=UNEQUAL._replace(merge_weights=np.array([0.5, 0.5])),
)
EQUAL_STEPS = Hypothesis(
    "all branches make as many steps as the joint run",
    lambda tasks: (tasks.steps == tasks.steps[0]).all(),
    without=EVEN._replace(steps=np.array([2, 6])),
)

PROPOSITION = Proposition(
    id="theorem-a",
    reference="Theorem A of this project",
    statement="Under one Hessian and gradient descent, the merged model equals the joint one after as many steps, for "
    "every partition, learning rate and start; so the gain is exactly the loss the split inflicted on its branches.",
    scope="exact",
    verdict="holds",
    claim=Claim(
        reads="θ̄(τ) = θ_joint(τ)",
        sides=_sides,
        relation="=",
        hypotheses=(
            Hypothesis(
                "all tasks share one Hessian",
                shared_hessian,
                without=scalar_tasks([1.0, 2.0], [-1.0, 0.5], [[0], [1]], learning_rate=0.5, steps=2),
            ),
            BRANCHES_WEIGH_THEIR_SHARE,
            EQUAL_STEPS,
        ),
        ensembles=(task_quadratics(shared_hessian=True, steps=7),),
        tolerance=1e-11,
    ),
)
