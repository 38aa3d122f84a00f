"""Proposition F.13 at MERIT's budget: finer splits make fewer steps."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

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
from merit_theory.recursive_split import expected_random_level_gains, hypercube_task_matrix, level_gains


class Box(NamedTuple):
    """Eight tasks with optima on the corners of a box, in the eigenbasis of their Hessian.

    Attributes:
        curvatures: float64 [3].
        amplitudes: float64 [3].
    """

    curvatures: Float[Numbers, " 3"]
    amplitudes: Float[Numbers, " 3"]

    @property
    def parts(self) -> Float[Array, " 3"]:
        """What each axis contributes, c_j = h_j³α_j²."""
        return self.curvatures**3 * self.amplitudes**2


def _gains(box: Box) -> Float[Array, " 3"]:
    return level_gains(hypercube_task_matrix(box.curvatures, box.amplitudes), jnp.arange(8), 3, 1.0, "tokens")


def _increase(box: Box) -> Sides:
    gains = _gains(box)
    return Sides(gains[1:], gains[:-1], gains.max())


def _halves(box: Box) -> Sides:
    """Each level against half of the one before, and against the ratio in closed form, both ways."""
    gains, sums = _gains(box), jnp.cumsum(box.parts)
    ratio = sums[1:] / (4 * sums[:-1]) * gains[:-1]
    left = jnp.concatenate([0.5 * gains[:-1], gains[1:], ratio])
    right = jnp.concatenate([gains[1:], ratio, gains[1:]])
    return Sides(left, right, gains.max())


def _draw(rng: np.random.Generator, n: int) -> Batch:
    return {"logs": rng.standard_normal((n, 3)), "falls": rng.standard_normal((n, 3))}


def _build(drawn: Batch) -> Box:
    """Amplitudes such that the axes contribute less and less."""
    curvatures = jnp.exp(drawn["logs"])
    parts = jnp.cumprod(1 / (1 + jnp.exp(drawn["falls"])))
    return Box(curvatures, jnp.sqrt(parts / curvatures**3))


def _random(rng: np.random.Generator) -> Outcome:
    factors = expected_random_level_gains(jnp.eye(8) * 16, 3, 1.0, "tokens").tolist()
    return Outcome(factors == [1 / 4, 3 / 16, 7 / 64], "(K − 1)/K² = 1/4, 3/16, 7/64")


CUBE = Box(np.array([3.0, 2.0, 1.0]), np.ones(3))

PROPOSITION = Proposition(
    id="prop-f.13-budget",
    reference="Proposition F.13, at matched tokens",
    statement="The gain grows from 1D to 3D.",
    scope="first-order",
    verdict="false as stated",
    claim=Claim(reads="G_2K ≥ G_K at τ/K steps each", sides=_increase, relation="≥", refutations=(CUBE,)),
    corrected=Claim(
        reads="½G_K ≥ G_2K = G_K·Σ_{j≤r+1}c_j/(4Σ_{j≤r}c_j) at τ/K steps each",
        sides=_halves,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "later axes contribute no more than earlier ones",
                lambda box: (box.parts[1:] <= box.parts[:-1] * (1 + 1e-12)).all(),
                without=Box(np.ones(3), np.array([1.0, 10.0, 10.0])),
            ),
        ),
        ensembles=(Ensemble(_draw, _build),),
        tight=Box(np.ones(3), np.ones(3)),
    ),
    demonstrations=(Demonstration("random splits at matched tokens gain ever less", _random),),
)
