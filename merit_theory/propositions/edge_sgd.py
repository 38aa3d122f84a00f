"""The stability edge of SGD: no split makes every branch more stable in mean square than the joint run."""

import jax
import jax.numpy as jnp
import numpy as np

from merit_theory.ensembles import TaskQuadratics, scalar_tasks, task_quadratics
from merit_theory.hessian import DenseHessian
from merit_theory.propositions.proposition import Claim, Demonstration, Hypothesis, Outcome, Proposition, Sides
from merit_theory.propositions.theorem_a import BRANCHES_WEIGH_THEIR_SHARE
from merit_theory.stability_edge import second_moment_growth


def _sides(tasks: TaskQuadratics) -> Sides:
    """Growth of second moments with one task per step, and with two; the worst branch against the joint run."""
    stack = DenseHessian(tasks.hessians)
    worst, joint = [], []
    for batch in (1, 2):
        growth = jax.vmap(lambda row, b=batch: second_moment_growth(stack, row, tasks.learning_rate, b))
        worst.append(growth(tasks.rows).max())
        joint.append(second_moment_growth(stack, tasks.model.uniform, tasks.learning_rate, batch))
    return Sides(jnp.stack(worst), jnp.stack(joint), jnp.stack(worst))


def _smaller_joint_batch(rng: np.random.Generator) -> Outcome:
    """Two equal groups with curvatures 0 and 4 at learning rate ½."""
    stack = DenseHessian(jnp.array([0.0, 4.0, 0.0, 4.0]).reshape(4, 1, 1))
    branch = float(second_moment_growth(stack, jnp.array([0.5, 0.5, 0.0, 0.0]), 0.5, 2))
    joint = float(second_moment_growth(stack, jnp.full(4, 0.25), 0.5, 1))
    return Outcome(abs(branch - 0.5) < 1e-12 and abs(joint - 1) < 1e-12, f"branches {branch:.6g}, joint {joint:.6g}")


PROPOSITION = Proposition(
    id="edge-sgd",
    reference="theorem of this project on step 5",
    statement="With tasks drawn with replacement and equal batches, second moments of some branch grow at least as "
    "fast per step as those of the joint run, for groups of any sizes.",
    scope="exact",
    verdict="holds",
    claim=Claim(
        reads="max_k ρ_k ≥ ρ_joint",
        sides=_sides,
        relation="≥",
        hypotheses=(
            Hypothesis(
                BRANCHES_WEIGH_THEIR_SHARE.reads,
                BRANCHES_WEIGH_THEIR_SHARE.holds,
                without=scalar_tasks([1.0, 1.0, 9.0], [0.0] * 3, [[0], [1, 2]], learning_rate=1.5, steps=1)._replace(
                    rows=np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
                ),
            ),
        ),
        ensembles=(task_quadratics(shared_hessian=False, n_tasks=4, n_groups=2, d=2),),
        tolerance=1e-8,
    ),
    demonstrations=(Demonstration("a joint run on half the batch can be the less stable one", _smaller_joint_batch),),
)
