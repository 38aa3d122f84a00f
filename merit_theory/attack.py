"""Random instances of a claim, and for an inequality descents from the worst of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from merit_theory.adversary import descend
from merit_theory.propositions.proposition import Batch, Claim, Ensemble
from merit_theory.quick_jit import quick_jit

CHUNK = 256
"""Instances evaluated at once; also the number of descents, so that one compiled function serves both."""


class Attacked(NamedTuple):
    """What an attack found.

    Attributes:
        drawn: rows that were drawn or reached by a descent.
        met: those among them that satisfy the hypotheses, on which the claim was evaluated.
        worst: lowest slack of the claim; minus infinity where it is undefined, infinity if nothing was evaluated.
    """

    drawn: int
    met: int
    worst: float


def attack(claim: Claim, ensemble: Ensemble, instances: int, rng: np.random.Generator) -> Attacked:
    """Evaluate a claim on random instances, rounded up to whole chunks, and on descents on its slack.

    Args:
        claim: what should hold.
        ensemble: where instances come from.
        instances: how many to draw, at least 1.
        rng: the only source of randomness.
    """
    # An identity that is false is false almost everywhere; descent on its residual would only climb rounding errors.
    descends = claim.engine == "jax" and claim.relation == "≥"
    evaluate = _evaluation(claim, ensemble, descends)
    chunks = [ensemble.draw(rng, CHUNK) for _ in range(-(-instances // CHUNK))]
    slacks = np.concatenate([evaluate(chunk)[0] for chunk in chunks])
    if descends:
        rows = jax.tree.map(lambda *leaves: np.concatenate(leaves), *chunks)
        worst_first = np.argsort(slacks)[:CHUNK]
        lowest, _ = descend(evaluate, jax.tree.map(lambda leaf: leaf[worst_first], rows))
        slacks = np.concatenate([slacks, lowest])
    return Attacked(slacks.size, int((slacks < np.inf).sum()), float(slacks.min()))


Evaluation = Callable[[Batch], tuple[NDArray[np.float64], Batch]]


def _evaluation(claim: Claim, ensemble: Ensemble, descends: bool) -> Evaluation:
    """From a batch of drawn rows to the slack of each and, for descent, its gradient; compiled once for all batches.

    An instance outside the hypotheses has infinite slack; one inside them on which the claim is undefined has none.
    """

    def masked(row: Batch) -> tuple[Any, Any]:
        instance = ensemble.build(row)
        fixed = jax.lax.stop_gradient(instance)
        inside = jnp.array([hypothesis.holds(fixed) for hypothesis in claim.hypotheses], dtype=bool).all()
        return claim.slack(instance), inside

    if claim.engine == "numpy":
        return lambda batch: (_one_by_one(claim, ensemble, batch), None)
    if not descends:
        forward = quick_jit(jax.vmap(masked))
        return lambda batch: (_bounded(*forward(batch)), None)
    compiled = quick_jit(jax.vmap(jax.value_and_grad(masked, has_aux=True, allow_int=True)))

    def evaluate(batch: Batch) -> tuple[NDArray[np.float64], Batch]:
        measured, gradient = compiled(batch)
        gradient = jax.tree.map(
            lambda slope, leaf: np.zeros(leaf.shape) if slope.dtype == jax.dtypes.float0 else np.asarray(slope),
            gradient,
            batch,
        )
        return _bounded(*measured), gradient

    return evaluate


def _one_by_one(claim: Claim, ensemble: Ensemble, batch: Batch) -> NDArray[np.float64]:
    """Slack of every row of a batch, for a claim that JAX does not trace."""
    rows = [jax.tree.map(lambda leaf, i=i: leaf[i], batch) for i in range(len(jax.tree.leaves(batch)[0]))]
    instances = [ensemble.build(row) for row in rows]
    inside = [all(hypothesis.holds(instance) for hypothesis in claim.hypotheses) for instance in instances]
    slacks = [claim.slack(instance) if met else np.inf for instance, met in zip(instances, inside, strict=True)]
    return _bounded(slacks, inside)


def _bounded(slack: Any, inside: Any) -> NDArray[np.float64]:
    """Slack with infinity outside the hypotheses and minus infinity where the claim is undefined inside them."""
    slack = np.asarray(slack, dtype=np.float64)
    return np.where(np.asarray(inside), np.where(np.isnan(slack), -np.inf, slack), np.inf)
