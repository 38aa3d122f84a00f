"""Proposition F.3's assumption: that the split takes the merged model out of the sharp directions."""

import jax.numpy as jnp

from merit_theory.ensembles import TaskQuadratics, scalar_tasks, task_quadratics
from merit_theory.propositions.proposition import Claim, Hypothesis, Proposition, Sides
from merit_theory.propositions.theorem_a import BRANCHES_WEIGH_THEIR_SHARE


def _sharp_part(tasks: TaskQuadratics) -> Sides:
    """The merged displacement along the sharpest eigenvector of the mean Hessian, against zero."""
    sharp = jnp.linalg.eigh(tasks.hessians.mean(axis=0))[1][:, -1]
    return Sides(jnp.abs(sharp @ tasks.merged()), jnp.zeros(()), jnp.abs(tasks.branches()).max())


def _as_joint(tasks: TaskQuadratics) -> Sides:
    return Sides(tasks.merged(), tasks.joint(), jnp.abs(tasks.branches()).max())


PROPOSITION = Proposition(
    id="prop-f.3-split",
    reference="Proposition F.3, Assumption 3",
    statement="Splitting along conflicts makes the merged displacement vanish in the sharp directions.",
    scope="first-order",
    verdict="not derivable",
    claim=Claim(
        reads="P_S δ̄ = 0",
        sides=_sharp_part,
        relation="=",
        refutations=(scalar_tasks([1.0, 1.0], [2.0, 0.0], [[0], [1]], learning_rate=0.5, steps=1),),
    ),
    corrected=Claim(
        reads="δ̄ = δ_joint after one step, for every partition",
        sides=_as_joint,
        relation="=",
        hypotheses=(
            Hypothesis(
                "the branches make one step",
                lambda tasks: (tasks.steps == 1).all(),
                without=scalar_tasks([1.0, 2.0], [-1.0, 0.5], [[0], [1]], learning_rate=0.5, steps=2),
            ),
            BRANCHES_WEIGH_THEIR_SHARE,
        ),
        ensembles=(task_quadratics(shared_hessian=False, steps=1),),
        tolerance=1e-11,
    ),
)
