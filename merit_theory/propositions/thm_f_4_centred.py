"""Theorem F.4 as it is used: PCA centres, and centring does not commute with normalising."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from merit_theory.eigenspace import (
    cosine_of_gram,
    largest_sine,
    leading_eigenspace,
    norm_spread,
    relative_misfit,
    rotation_bound,
)
from merit_theory.propositions.proposition import Batch, Claim, Ensemble, Numbers, Proposition, Sides
from merit_theory.split_gain import double_centred


class SharedMeanGradients(NamedTuple):
    """Task gradients as rows around a gradient that all share.

    Attributes:
        rows: float64 [n, d].
    """

    rows: Float[Numbers, "n d"]


def _turn(gram: Float[Array, "n n"]) -> Float[Array, ""]:
    """Sine between the first axes of the double-centred Gram and cosine matrices."""
    first, second = (leading_eigenspace(matrix, 1, "double") for matrix in (gram, cosine_of_gram(gram)))
    return largest_sine(first, second)


def _as_used(gradients: SharedMeanGradients) -> Sides:
    """The bound of F.4 with the eigenvalues of the centred Gram matrix throughout."""
    gram = gradients.rows @ gradients.rows.T
    eigenvalues = jnp.linalg.eigvalsh(double_centred(gram))[::-1]
    misfit = relative_misfit(norm_spread(gram))
    bound = 2 * (2 * misfit + misfit**2) * eigenvalues[0] / (eigenvalues[0] - eigenvalues[1])
    return Sides(bound, _turn(gram), 1.0)


def _with_uncentred_norm(gradients: SharedMeanGradients) -> Sides:
    gram = gradients.rows @ gradients.rows.T
    return Sides(rotation_bound(gram, 1, "double"), _turn(gram), 1.0)


def _draw(rng: np.random.Generator, n: int, n_tasks: int = 5, d: int = 4) -> Batch:
    return {
        "directions": rng.standard_normal((n, n_tasks, d)),
        "common": rng.standard_normal((n, d)) * rng.choice([0.0, 1.0, 3.0], (n, 1)),
        "lengths": rng.uniform(-0.02, 0.02, (n, n_tasks)),
    }


def _build(drawn: Batch) -> SharedMeanGradients:
    rows = drawn["directions"] + drawn["common"][None, :]
    return SharedMeanGradients(rows * (jnp.exp(drawn["lengths"]) / jnp.linalg.norm(rows, axis=1))[:, None])


LONG_SHARED_MEAN = SharedMeanGradients(np.array([[10.3, 0.1], [10.3, -0.1], [10.0, 0.1], [10.0, -0.1]]))
"""Raw, tasks differ most by how much of the shared gradient they have; normalised, by the conflict at right angles."""

PROPOSITION = Proposition(
    id="thm-f.4-centred",
    reference="Theorem F.4, applied to PCA",
    statement="The bound of F.4 also holds between the PCA axes of the centred matrices.",
    scope="exact",
    verdict="false as stated",
    claim=Claim(
        reads="2(2e + e²)λ₁(PK₀P)/(λ₁ − λ₂)(PK₀P) ≥ sin Θ(PK₀P, PCP)",
        sides=_as_used,
        relation="≥",
        refutations=(LONG_SHARED_MEAN,),
    ),
    corrected=Claim(
        reads="2(2e + e²)λ₁(K₀)/(λ₁ − λ₂)(PK₀P) ≥ sin Θ(PK₀P, PCP)",
        sides=_with_uncentred_norm,
        relation="≥",
        ensembles=(Ensemble(_draw, _build),),
        tolerance=1e-9,
    ),
)
