"""Weights in proportion to tokens, when steps are in proportion to tokens too."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from merit_theory.ensembles import group_rows, random_labels
from merit_theory.hessian import DenseHessian
from merit_theory.linear_quadratic import LinearQuadraticModel
from merit_theory.merged_loss import merged_after_one_epoch
from merit_theory.partition import Partition
from merit_theory.propositions.proposition import (
    Batch,
    Claim,
    Demonstration,
    Ensemble,
    Hypothesis,
    Numbers,
    Outcome,
    Proposition,
    Sides,
)


class OneEpoch(NamedTuple):
    """Groups of tasks of equal size whose branches make one step per task, to first order.

    Attributes:
        gradients: float64 [n, d].
        rows: float64 [k, n], the mean over every group.
        sizes: float64 [k], tasks and steps of every group.
        weights: float64 [k], of the merge.
    """

    gradients: Float[Numbers, "n d"]
    rows: Float[Numbers, "k n"]
    sizes: Float[Numbers, " k"]
    weights: Float[Numbers, " k"]


def _sides(epoch: OneEpoch) -> Sides:
    """First-order displacement of the merge against N/K joint steps per task, at η = 1."""
    merged = -(epoch.weights * epoch.sizes) @ epoch.rows @ epoch.gradients
    joint = -epoch.gradients.sum(axis=0) / len(epoch.sizes)
    return Sides(merged, joint, jnp.abs(epoch.gradients).sum())


def _by_tokens(epoch: OneEpoch) -> Array:
    return jnp.abs(epoch.weights - epoch.sizes / epoch.sizes.sum()).max() < 1e-9


def _uniform(epoch: OneEpoch) -> Array:
    return jnp.abs(epoch.weights - 1 / epoch.weights.size).max() < 1e-9


N_TASKS, N_GROUPS = 7, 3


def _draw(rng: np.random.Generator, n: int) -> Batch:
    return {"gradients": rng.standard_normal((n, N_TASKS, 4)), "labels": random_labels(rng, n, N_TASKS, N_GROUPS)}


def _build(drawn: Batch) -> OneEpoch:
    rows, shares = group_rows(drawn["labels"], N_GROUPS)
    return OneEpoch(drawn["gradients"], rows, shares * N_TASKS, jnp.full(N_GROUPS, 1 / N_GROUPS))


ONE_AGAINST_THREE = OneEpoch(
    gradients=np.array([[-3.0], [1.0], [1.0], [1.0]]),
    rows=np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1 / 3, 1 / 3, 1 / 3]]),
    sizes=np.array([1.0, 3.0]),
    weights=np.array([0.25, 0.75]),
)
"""Optima 3, −1, −1, −1 under unit curvature, started at their mean: the joint run does not move."""


def _along_training(rng: np.random.Generator) -> Outcome:
    """Errors of both merges from first order to convergence, by ητλ of a single task's steps."""
    model = LinearQuadraticModel(DenseHessian(jnp.eye(1)), jnp.array([[3.0], [-1.0], [-1.0], [-1.0]]))
    split, errors = Partition(((0,), (1, 2, 3))), []
    for progress in (0.05, 0.5, 5.0, 50.0):
        steps = 10_000
        pair = [
            float(merged_after_one_epoch(model, jnp.zeros(1), split, jnp.array(weights), progress / steps, steps)[0])
            for weights in ((0.25, 0.75), (0.5, 0.5))
        ]
        errors.append(pair)
    holds = abs(errors[0][0]) > 10 * abs(errors[0][1]) and abs(errors[3][0]) < 1e-9 and abs(errors[3][1] - 1) < 1e-9
    numbers = "; ".join(f"{tokens:.3f}/{uniform:.3f}" for tokens, uniform in errors)
    return Outcome(bool(holds), f"tokens/uniform {numbers} at ητλ = 0.05, 0.5, 5, 50")


PROPOSITION = Proposition(
    id="token-weights",
    reference="Algorithm 1, the merge",
    statement="Merging one-epoch branches in proportion to their tokens is unbiased to first order.",
    scope="first-order",
    verdict="false as stated",
    claim=Claim(
        reads="δ̄ = −η(N/K)ḡ",
        sides=_sides,
        relation="=",
        hypotheses=(Hypothesis("weights are in proportion to tokens", _by_tokens),),
        refutations=(ONE_AGAINST_THREE,),
    ),
    corrected=Claim(
        reads="δ̄ = −η(N/K)ḡ",
        sides=_sides,
        relation="=",
        hypotheses=(Hypothesis("weights are uniform", _uniform, without=ONE_AGAINST_THREE),),
        ensembles=(Ensemble(_draw, _build),),
        tolerance=1e-12,
    ),
    demonstrations=(
        Demonstration("near convergence it is the other way round (the joint run stays at 0)", _along_training),
    ),
)
