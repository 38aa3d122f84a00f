"""Equation E2/E11: the merged model is closer to the start than its branches are on average."""

import jax.numpy as jnp
import numpy as np

from merit_theory.ensembles import BASINS, Basin
from merit_theory.merging import contraction, merged_displacement
from merit_theory.propositions.proposition import Claim, Hypothesis, Proposition, Sides


def _sides(basin: Basin) -> Sides:
    lengths = contraction(basin.displacements, basin.weights)
    merged = (merged_displacement(basin.displacements, basin.weights) ** 2).sum()
    scale = (jnp.abs(basin.weights).sum() ** 2 + 1) * (basin.displacements**2).sum(axis=1).max()
    return Sides(merged, lengths.mean_branch - lengths.dispersion, scale)


PROPOSITION = Proposition(
    id="eq-e2",
    reference="Eq. (E2) and (E11), section 3",
    statement="The squared displacement of the merged model is the branches' mean less their dispersion.",
    scope="exact",
    verdict="holds",
    claim=Claim(
        reads="‖δ̄‖² = Σw_k‖δ_k‖² − Σw_k‖δ_k − δ̄‖²",
        sides=_sides,
        relation="=",
        hypotheses=(
            Hypothesis(
                "the weights have sum one",
                lambda basin: jnp.abs(basin.weights.sum() - 1) < 1e-9,
                without=Basin(np.eye(1), np.zeros(1), np.array([[1.0], [2.0]]), np.array([1.0, 1.0])),
            ),
        ),
        ensembles=(BASINS,),
        tolerance=1e-12,
    ),
)
