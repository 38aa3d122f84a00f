"""Lemma 1: the cosine matrix is the Gram matrix of normalised gradients."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from merit_theory.conflict import cosine_similarity, gram_matrix
from merit_theory.ensembles import student
from merit_theory.propositions.proposition import Batch, Claim, Ensemble, Hypothesis, Numbers, Proposition, Sides


class Gradients(NamedTuple):
    """Task gradients as rows.

    Attributes:
        rows: float64 [n, d].
    """

    rows: Float[Numbers, "n d"]


def _sides(gradients: Gradients) -> Sides:
    cosine = cosine_similarity(gradients.rows)
    inverse = np.diag(1 / np.linalg.norm(gradients.rows, axis=1))
    return Sides(cosine, inverse @ gram_matrix(gradients.rows) @ inverse, 1.0)


def _draw(rng: np.random.Generator, n: int) -> Batch:
    return Gradients(student(rng, (n, 6, 4)) * 10.0 ** rng.uniform(-3.0, 3.0, (n, 6, 1)))


PROPOSITION = Proposition(
    id="lemma-1",
    reference="Lemma 1",
    statement="The cosine matrix is D⁻¹K₀D⁻¹ with D = diag‖g_i‖.",
    scope="exact",
    verdict="holds",
    claim=Claim(
        reads="C = D⁻¹K₀D⁻¹",
        sides=_sides,
        relation="=",
        hypotheses=(
            Hypothesis(
                "no gradient is zero",
                lambda gradients: bool(np.linalg.norm(gradients.rows, axis=1).min() > 0),
                without=Gradients(np.array([[3.0, 4.0], [0.0, 0.0]])),
            ),
        ),
        ensembles=(Ensemble(_draw),),
        engine="numpy",
        tolerance=1e-12,
    ),
)
