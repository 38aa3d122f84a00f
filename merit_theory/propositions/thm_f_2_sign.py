"""Theorem F.2, last step: when the gain in population loss is positive."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from merit_theory.ensembles import CONVEX_BASINS, Basin
from merit_theory.merging import contraction, gain_by_definition, merging_gain
from merit_theory.propositions.proposition import Batch, Claim, Ensemble, Hypothesis, Numbers, Proposition, Sides


class Mismatched(NamedTuple):
    """A quadratic training loss with branches, and the Hessian of population minus training loss.

    Attributes:
        basin: the training loss.
        mismatch: float64 [d, d], symmetric.
    """

    basin: Basin
    mismatch: Float[Numbers, "d d"]

    def population_gain(self) -> Float[Array, ""]:
        """Mean branch loss minus merged loss, of the population."""
        basin = self.basin

        def loss(moved: Float[Array, " d"]) -> Float[Array, ""]:
            return basin.loss(moved) + 0.5 * moved @ self.mismatch @ moved

        return gain_by_definition(loss, basin.displacements, basin.weights)

    def scale(self) -> Float[Array, ""]:
        """Size of the losses that the gain is a difference of."""
        curvature = jnp.abs(self.basin.hessian).max() + jnp.abs(self.mismatch).max()
        lengths = (self.basin.displacements**2).sum(axis=1)
        return curvature * lengths.max() + jnp.abs(self.basin.slope).max() * jnp.sqrt(lengths.max())


def _norm(matrix: Float[Array, "d d"]) -> Float[Array, ""]:
    return jnp.abs(jnp.linalg.eigvalsh(matrix)).max()


def _positive(instance: Mismatched) -> Sides:
    return Sides(instance.population_gain(), jnp.zeros(()), instance.scale())


def _bounded(instance: Mismatched) -> Sides:
    basin = instance.basin
    dispersion = contraction(basin.displacements, basin.weights).dispersion
    floor = merging_gain(basin.hessian, basin.displacements, basin.weights)
    return Sides(instance.population_gain(), floor - 0.5 * _norm(instance.mismatch) * dispersion, instance.scale())


def _draw(rng: np.random.Generator, n: int) -> Batch:
    drawn = CONVEX_BASINS.draw(rng, n)
    return drawn | {"mismatch": rng.standard_normal((n, *drawn["slope"].shape[1:] * 2))}


def _build(drawn: Batch) -> Mismatched:
    return Mismatched(CONVEX_BASINS.build(drawn), (drawn["mismatch"] + drawn["mismatch"].T) / 2)


def _flat(weights: tuple[float, float]) -> Mismatched:
    """H = diag(1, 0), ∇²Δ = diag(0, -½), and branches that differ along the flat direction alone."""
    basin = Basin(np.diag([1.0, 0.0]), np.zeros(2), np.array([[0.0, 1.0], [0.0, -1.0]]), np.array(weights))
    return Mismatched(basin, np.diag([0.0, -0.5]))


PROPOSITION = Proposition(
    id="thm-f.2-sign",
    reference="Theorem F.2, its reading",
    statement="The gain in population loss is positive where the mismatch of curvatures is smaller than the curvature.",
    scope="exact",
    verdict="false as stated",
    claim=Claim(
        reads="population gain ≥ 0",
        sides=_positive,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "‖∇²Δ‖ is smaller than ‖H‖",
                lambda instance: _norm(instance.mismatch) < _norm(instance.basin.hessian),
            ),
        ),
        refutations=(_flat((0.5, 0.5)),),
    ),
    corrected=Claim(
        reads="population gain ≥ G_H − ½‖∇²Δ‖V₂",
        sides=_bounded,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "no weight is negative",
                lambda instance: instance.basin.weights.min() >= 0,
                without=_flat((2.0, -1.0))._replace(mismatch=np.diag([0.0, 0.5])),
            ),
        ),
        ensembles=(Ensemble(_draw, _build),),
        tight=_flat((0.5, 0.5)),
    ),
)
