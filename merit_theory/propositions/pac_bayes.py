"""The PAC-Bayes argument of appendix F.5: a shorter displacement as a certificate of generalisation."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from merit_theory.pac_bayes import break_even_noise, complexity, loss_bound
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

EXAMPLES = 136_000


class TwoModels(NamedTuple):
    """A merged and a joint model, seen by the bound.

    Attributes:
        losses: float64 [2], training losses of merged and joint in [0, 1].
        distances: float64 [2], displacements from the start.
        noise: float64, σ.
    """

    losses: Float[Numbers, " 2"]
    distances: Float[Numbers, " 2"]
    noise: Float[Numbers, ""]


def _sides(models: TwoModels) -> Sides:
    merged, joint = loss_bound(models.losses, models.distances, models.noise, EXAMPLES)
    return Sides(joint, merged, joint)


def _shorter(models: TwoModels) -> Array:
    return models.distances[0] <= models.distances[1]


def _draw(rng: np.random.Generator, n: int) -> Batch:
    return {"losses": rng.standard_normal((n, 2)), "logs": rng.standard_normal((n, 3))}


def _build(drawn: Batch) -> TwoModels:
    """A merged model that is nearer to the start and fits no worse."""
    joint = 1 / (1 + jnp.exp(drawn["losses"][0]))
    share = 1 / (1 + jnp.exp(drawn["losses"][1]))
    near, farther, noise = jnp.exp(drawn["logs"])
    return TwoModels(jnp.stack([joint * share, joint]), jnp.stack([near, near + farther]), noise)


def _paper_numbers(rng: np.random.Generator) -> Outcome:
    """Half an epoch of the paper's Table 1: displacements 5.7 and 13.7, training losses 1.20 and 0.71."""
    noise = float(break_even_noise(5.7, 13.7, 1.20 - 0.71, EXAMPLES))
    worth = float(complexity(5.7, noise, EXAMPLES))
    return Outcome(
        noise < 0.05 and worth > 0.2, f"pays only for σ < {noise:.4f}, where the merged term alone is {worth:.2f}"
    )


HIGHER_LOSS = TwoModels(np.array([0.6, 0.3]), np.array([5.7, 13.7]), np.array(0.1))

PROPOSITION = Proposition(
    id="pac-bayes",
    reference="appendix F.5, PAC-Bayes",
    statement="Because its displacement is shorter, the merged model has the smaller generalisation bound.",
    scope="conceptual",
    verdict="false as stated",
    claim=Claim(
        reads="bound(joint) ≥ bound(merged)",
        sides=_sides,
        relation="≥",
        hypotheses=(Hypothesis("the merged model is nearer to the start", _shorter),),
        refutations=(HIGHER_LOSS,),
    ),
    corrected=Claim(
        reads="bound(joint) ≥ bound(merged)",
        sides=_sides,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "the merged model is nearer to the start",
                _shorter,
                without=TwoModels(np.array([0.3, 0.3]), np.array([13.7, 5.7]), np.array(0.1)),
            ),
            Hypothesis(
                "its training loss is no higher",
                lambda models: models.losses[0] <= models.losses[1],
                without=HIGHER_LOSS,
            ),
        ),
        ensembles=(Ensemble(_draw, _build),),
        tight=TwoModels(np.array([0.3, 0.3]), np.array([5.7, 5.7]), np.array(0.1)),
    ),
    demonstrations=(
        Demonstration("the paper's Table 1 after half an epoch, 136,000 examples assumed", _paper_numbers),
    ),
)
