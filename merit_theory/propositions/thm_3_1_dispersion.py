"""Theorem 3.1, last line: where dispersion should lie for the largest gain."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from merit_theory.ensembles import CONVEX_BASINS, Basin
from merit_theory.merging import contraction, merged_displacement, merging_gain
from merit_theory.propositions.proposition import Batch, Claim, Ensemble, Hypothesis, Numbers, Proposition, Sides


class Rivals(NamedTuple):
    """Two sets of branches in one basin; the rivals disperse along the top eigendirection alone.

    Attributes:
        basin: with the branches that the rivals are compared to.
        rivals: float64 [k, d].
    """

    basin: Basin
    rivals: Float[Numbers, "k d"]


def _sides(instance: Rivals) -> Sides:
    basin, rivals = instance
    ours = merging_gain(basin.hessian, basin.displacements, basin.weights)
    theirs = merging_gain(basin.hessian, rivals, basin.weights)
    return Sides(theirs, ours, jnp.abs(basin.hessian).max() * (basin.displacements**2).sum(axis=1).max())


def _dispersions(instance: Rivals) -> Float[Array, " 2"]:
    basin, rivals = instance
    return jnp.stack([contraction(moved, basin.weights).dispersion for moved in (basin.displacements, rivals)])


def _on_top(instance: Rivals) -> Array:
    """Whether the rivals disperse along the top eigendirection alone."""
    basin, rivals = instance
    centred = rivals - merged_displacement(rivals, basin.weights)[None, :]
    top = jnp.linalg.eigh(basin.hessian)[1][:, -1]
    return jnp.linalg.norm(centred - jnp.outer(centred @ top, top)) <= 1e-9 * jnp.linalg.norm(centred)


def _build(drawn: Batch) -> Rivals:
    """Rivals with the same lengths around their mean as the branches, all along the top eigendirection."""
    basin = CONVEX_BASINS.build(drawn)
    top = jnp.linalg.eigh(basin.hessian)[1][:, -1]
    places = drawn["places"] - basin.weights @ drawn["places"]
    dispersion = contraction(basin.displacements, basin.weights).dispersion
    return Rivals(basin, jnp.outer(places * jnp.sqrt(dispersion / (basin.weights @ places**2)), top))


def _draw(rng: np.random.Generator, n: int) -> Batch:
    drawn = CONVEX_BASINS.draw(rng, n)
    return drawn | {"places": rng.standard_normal(drawn["weights"].shape)}


def _rivals(branch: list[float], rival: list[float]) -> Rivals:
    """H = diag(4, 1), two branches at ± one vector and two rivals at ± another."""
    basin = Basin(np.diag([4.0, 1.0]), np.zeros(2), np.array([branch, branch]) * [[1.0], [-1.0]], np.array([0.5, 0.5]))
    return Rivals(basin, np.array([rival, rival]) * [[1.0], [-1.0]])


PROPOSITION = Proposition(
    id="thm-3.1-dispersion",
    reference="Theorem 3.1, last line",
    statement="The gain is largest when the branches disperse along the top eigendirections of the Hessian.",
    scope="exact",
    verdict="holds with an added hypothesis",
    claim=Claim(
        reads="G(dispersion on u₁) ≥ G(any dispersion)",
        sides=_sides,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "the total dispersion tr Cov_w is the same",
                lambda instance: jnp.abs(jnp.diff(_dispersions(instance))[0]) <= 1e-9 * _dispersions(instance).sum(),
                without=_rivals([0.0, 3.0], [1.0, 0.0]),
                added=True,
            ),
            Hypothesis(
                "the rivals disperse along the top eigendirection alone",
                _on_top,
                without=_rivals([1.0, 0.0], [0.0, 1.0]),
            ),
        ),
        ensembles=(Ensemble(_draw, _build),),
        tight=_rivals([1.0, 0.0], [-1.0, 0.0]),
        tolerance=1e-9,
    ),
)
