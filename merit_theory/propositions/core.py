"""The core of the argument: that a larger gain means a better merged model."""

from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from merit_theory.ensembles import TaskQuadratics, group_rows, random_labels, scalar_tasks, task_quadratics
from merit_theory.merging import merging_gain
from merit_theory.propositions.proposition import (
    Batch,
    Claim,
    Demonstration,
    Ensemble,
    Hypothesis,
    Outcome,
    Proposition,
    Sides,
)
from merit_theory.propositions.theorem_a import BRANCHES_WEIGH_THEIR_SHARE, EQUAL_STEPS, shared_hessian
from merit_theory.quick_jit import quick_jit


class TwoPartitions(NamedTuple):
    """The same tasks under two partitions.

    Attributes:
        first: the tasks in one partition.
        second: the same tasks in another.
    """

    first: TaskQuadratics
    second: TaskQuadratics


def merged_loss(tasks: TaskQuadratics) -> Float[Array, ""]:
    """Mixture loss of the merged model."""
    return tasks.model.loss(tasks.start + tasks.merged())


def gain_of(tasks: TaskQuadratics) -> Float[Array, ""]:
    """The gain of the merge in mixture loss."""
    return merging_gain(tasks.hessians.mean(axis=0), tasks.branches(), tasks.merge_weights)


def _scale(tasks: TaskQuadratics) -> Float[Array, ""]:
    return tasks.model.loss(tasks.start) + jax.vmap(tasks.model.loss)(tasks.start[None, :] + tasks.branches()).max()


def _better(instance: TwoPartitions) -> Sides:
    """Merged loss of the partition with the smaller gain against that of the one with the larger."""
    return Sides(merged_loss(instance.second), merged_loss(instance.first), _scale(instance.first))


def _same(instance: TwoPartitions) -> Sides:
    """Merged losses of both against the joint loss, and the gain against what the branches lost to it."""
    first, second = instance
    joint = first.model.loss(first.start + first.joint())
    branches = jax.vmap(first.model.loss)(first.start[None, :] + first.branches())
    left = jnp.stack([merged_loss(first), merged_loss(second), gain_of(first)])
    right = jnp.stack([joint, joint, first.merge_weights @ branches - joint])
    return Sides(left, right, _scale(first))


TASKS = task_quadratics(shared_hessian=True, n_tasks=6, n_groups=2)


def _draw(rng: np.random.Generator, n: int) -> Batch:
    return TASKS.draw(rng, n) | {"other_labels": random_labels(rng, n, 6, 2)}


def _build(drawn: Batch) -> TwoPartitions:
    first = TASKS.build(drawn)
    rows, shares = group_rows(drawn["other_labels"], 2)
    return TwoPartitions(first, first._replace(rows=rows, merge_weights=shares))


def own_hessians(groups: list[list[int]], steps: int = 2) -> TaskQuadratics:
    """Curvatures 2, 1, 1, 1 and optima 1, 2, −2, −2, started at the joint minimum with η = ½."""
    return scalar_tasks([2.0, 1.0, 1.0, 1.0], [1.0, 2.0, -2.0, -2.0], groups, learning_rate=0.5, steps=steps)


LARGEST_GAIN = own_hessians([[0, 1], [2, 3]])
NO_GAIN = own_hessians([[0, 2], [1, 3]])
SAME_HESSIAN = scalar_tasks([1.0] * 4, [3.0, -1.0, -1.0, -1.0], [[0], [1, 2, 3]], learning_rate=0.5, steps=2)


def _exact(rng: np.random.Generator) -> Outcome:
    """Excess loss after two and three steps in rational arithmetic, and from the library."""
    tasks = list(zip((2, 1, 1, 1), (1, 2, -2, -2), strict=True))

    def descend(group: list[int], steps: int) -> Fraction:
        place = Fraction(0)
        for _ in range(steps):
            place -= Fraction(1, 2) * sum(tasks[i][0] * (place - tasks[i][1]) for i in group) / len(group)
        return place

    library_excess = quick_jit(lambda tasks: merged_loss(tasks) - tasks.model.loss(tasks.start))
    found, agrees = [], True
    for steps in (2, 3):
        merged = (descend([0, 1], steps) + descend([2, 3], steps)) / 2
        excess = sum(Fraction(h, 8) * ((merged - a) ** 2 - a**2) for h, a in tasks)
        agrees &= abs(float(library_excess(own_hessians([[0, 1], [2, 3]], steps))) - float(excess)) < 1e-14
        found.append(excess)
    gain = float(quick_jit(gain_of)(LARGEST_GAIN))
    exact = found == [Fraction(5, 512), Fraction(245, 8192)] and gain == 605 / 512
    return Outcome(
        bool(exact and agrees), f"excess {found[0]} at τ = 2 and {found[1]} at τ = 3; gain {gain * 512:.0f}/512"
    )


PROPOSITION = Proposition(
    id="core",
    reference="section 3, the argument as a whole",
    statement="Of two balanced splits, the one with the larger gain gives the better merged model.",
    scope="exact",
    verdict="false as stated",
    claim=Claim(
        reads="L(θ̄ of the smaller gain) ≥ L(θ̄ of the larger gain)",
        sides=_better,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "the first partition has the larger gain",
                lambda instance: gain_of(instance.first) > gain_of(instance.second),
            ),
        ),
        refutations=(TwoPartitions(LARGEST_GAIN, NO_GAIN),),
    ),
    corrected=Claim(
        reads="L(θ̄) = L(θ_joint) for every partition, G = mean_k L(θ_k) − L(θ_joint)",
        sides=_same,
        relation="=",
        hypotheses=(
            Hypothesis(
                "all tasks share one Hessian",
                lambda instance: shared_hessian(instance.first),
                without=TwoPartitions(LARGEST_GAIN, NO_GAIN),
            ),
            Hypothesis(
                BRANCHES_WEIGH_THEIR_SHARE.reads,
                lambda instance: BRANCHES_WEIGH_THEIR_SHARE.holds(instance.first),
                without=TwoPartitions(SAME_HESSIAN._replace(merge_weights=np.array([0.5, 0.5])), SAME_HESSIAN),
            ),
            Hypothesis(
                EQUAL_STEPS.reads,
                lambda instance: EQUAL_STEPS.holds(instance.first),
                without=TwoPartitions(SAME_HESSIAN._replace(steps=np.array([2, 6])), SAME_HESSIAN),
            ),
        ),
        ensembles=(Ensemble(_draw, _build),),
        tolerance=1e-11,
    ),
    demonstrations=(Demonstration("curvatures of their own make the largest gain cost loss", _exact),),
)
