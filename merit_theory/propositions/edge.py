"""The stability edge of gradient descent: a split never enlarges the learning rate that all branches share."""

import jax.numpy as jnp
import numpy as np

from merit_theory.ensembles import TaskQuadratics, scalar_tasks, task_quadratics
from merit_theory.hessian import DenseHessian
from merit_theory.propositions.proposition import Claim, Hypothesis, Proposition, Sides
from merit_theory.propositions.theorem_a import BRANCHES_WEIGH_THEIR_SHARE
from merit_theory.stability_edge import gradient_descent_edge


def _sides(tasks: TaskQuadratics) -> Sides:
    """The smallest edge of a branch against that of the joint run, as largest eigenvalues."""
    branches = DenseHessian(jnp.einsum("kn,nij->kij", tasks.rows, tasks.hessians))
    joint = DenseHessian(tasks.hessians.mean(axis=0))
    sharpest = 2 / gradient_descent_edge(branches).min()
    return Sides(sharpest, 2 / gradient_descent_edge(joint), sharpest)


def _groups(rows: list[list[float]]) -> TaskQuadratics:
    """Three tasks with curvatures 1, 1 and 9."""
    return scalar_tasks([1.0, 1.0, 9.0], [0.0] * 3, [[0], [1, 2]], learning_rate=0.1, steps=1)._replace(
        rows=np.array(rows)
    )


PROPOSITION = Proposition(
    id="edge",
    reference="theorem of this project on step 5",
    statement="The sharpest branch is at least as sharp as the joint run, for groups of any sizes.",
    scope="exact",
    verdict="holds",
    claim=Claim(
        reads="max_k λ_max(H̄_k) ≥ λ_max(H̄)",
        sides=_sides,
        relation="≥",
        hypotheses=(
            Hypothesis(
                BRANCHES_WEIGH_THEIR_SHARE.reads,
                BRANCHES_WEIGH_THEIR_SHARE.holds,
                without=_groups([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
            ),
        ),
        ensembles=(task_quadratics(shared_hessian=False),),
        tight=_groups([[0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]])._replace(
            merge_weights=np.array([0.0, 1.0]), hessians=np.ones((3, 1, 1))
        ),
    ),
)
