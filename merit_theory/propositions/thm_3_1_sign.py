"""Theorem 3.1/F.1: the gain is never negative, and by how much it is bounded."""

import jax.numpy as jnp
import numpy as np

from merit_theory.ensembles import CONVEX_BASINS, Basin
from merit_theory.merging import gain_upper_bound, merging_gain
from merit_theory.propositions.proposition import Claim, Hypothesis, Proposition, Sides


def _sides(basin: Basin) -> Sides:
    branches = (basin.hessian, basin.displacements, basin.weights)
    gain, most = merging_gain(*branches), gain_upper_bound(*branches)
    scale = jnp.abs(basin.hessian).max() * (basin.displacements**2).sum(axis=1).max() + 1e-300
    return Sides(jnp.stack([gain, most]), jnp.stack([jnp.zeros(()), gain]), scale)


def convex(basin: Basin) -> jnp.ndarray:
    """Whether the Hessian is positive semi-definite to rounding."""
    eigenvalues = jnp.linalg.eigvalsh(basin.hessian)
    return eigenvalues[0] >= -1e-12 * jnp.abs(eigenvalues).max()


PROPOSITION = Proposition(
    id="thm-3.1-sign",
    reference="Theorem 3.1, appendix F.1",
    statement="Merging never loses against the mean branch, and gains at most ½λ_max times the dispersion.",
    scope="exact",
    verdict="holds",
    claim=Claim(
        reads="½λ_max Σw_k‖δ_k − δ̄‖² ≥ G ≥ 0",
        sides=_sides,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "the Hessian is positive semi-definite",
                convex,
                without=Basin(
                    np.diag([1.0, -1.0]), np.zeros(2), np.array([[0.0, 1.0], [0.0, -1.0]]), np.array([0.5, 0.5])
                ),
            ),
            Hypothesis(
                "no weight is negative",
                lambda basin: basin.weights.min() >= 0,
                without=Basin(np.eye(1), np.zeros(1), np.array([[0.0], [1.0]]), np.array([2.0, -1.0])),
            ),
        ),
        ensembles=(CONVEX_BASINS,),
        tight=Basin(np.diag([4.0, 1.0]), np.zeros(2), np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([0.5, 0.5])),
    ),
)
