"""Proposition F.3: what is left of the loss when the merged model has no part in the sharp directions."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from merit_theory.ensembles import draw_symmetric, symmetric
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
from merit_theory.spectral_filter import flat_loss_bound, subspace_loss


class Subspace(NamedTuple):
    """A displacement from the minimum of a basin, and a subspace that is taken for the sharp one.

    Attributes:
        hessian: float64 [d, d].
        displacement: float64 [d].
        basis: float64 [d, k], orthonormal columns.
    """

    hessian: Float[Numbers, "d d"]
    displacement: Float[Numbers, " d"]
    basis: Float[Numbers, "d k"]


def _sides(instance: Subspace) -> Sides:
    loss = 0.5 * instance.displacement @ instance.hessian @ instance.displacement
    curvatures = jnp.linalg.eigvalsh(instance.hessian)
    bound = flat_loss_bound(curvatures, instance.basis.shape[1], instance.displacement)
    return Sides(bound, loss, jnp.abs(curvatures).max() * (instance.displacement**2).sum() + 1e-300)


def _no_part(instance: Subspace) -> Array:
    inside = instance.basis.T @ instance.displacement
    return jnp.abs(inside).max() <= 1e-9 * jnp.linalg.norm(instance.displacement)


def _holds_the_sharpest(instance: Subspace) -> Array:
    """Whether HS ⊆ S and the eigenvalues on S are the largest."""
    h, s = instance.hessian, instance.basis
    within = s.T @ h @ s
    leak = jnp.abs(h @ s - s @ within).max()
    rest = jnp.trace(h) - jnp.trace(within)
    largest = jnp.sort(jnp.linalg.eigvalsh(h))[::-1][: s.shape[1]].sum()
    return (leak <= 1e-9 * jnp.abs(h).max()) & (jnp.abs(jnp.trace(h) - rest - largest) <= 1e-9 * jnp.abs(h).max())


def _draw(rng: np.random.Generator, n: int, d: int = 5) -> Batch:
    return draw_symmetric(rng, n, d, 2.0, (0, 1)) | {"displacement": rng.standard_normal((n, d))}


def _build(drawn: Batch, k: int = 2) -> Subspace:
    """S from the k sharpest eigenvectors of the reflection, and a displacement outside it."""
    hessian = symmetric(drawn)
    basis = jnp.linalg.eigh(hessian)[1][:, ::-1][:, :k]
    return Subspace(hessian, drawn["displacement"] - basis @ (basis.T @ drawn["displacement"]), basis)


DIAGONAL = Subspace(np.diag([2.0, 1.0]), np.array([0.0, 1.0]), np.array([[1.0], [0.0]]))
SLANTED = Subspace(np.diag([2.0, 1.0]), np.array([1.0, -1.0]), np.full((2, 1), np.sqrt(0.5)))


def _three_parts(rng: np.random.Generator) -> Outcome:
    """The slanted subspace: within nothing, outside 3/2, although ½λ₂‖δ‖² = 1."""
    parts = subspace_loss(SLANTED.hessian, SLANTED.displacement + np.array([1.0, 1.0]), SLANTED.basis)
    total = 0.5 * 2.0 * 2.0**2
    found = [round(float(part), 12) for part in parts]
    return Outcome(abs(sum(found) - total) < 1e-9 and found[2] != 0, f"within, outside, cross = {found}, sum {total}")


PROPOSITION = Proposition(
    id="prop-f.3",
    reference="Proposition F.3",
    statement="A merged model without a part in the sharp subspace is left with at most ½λ_{k+1}‖δ̄‖² of loss.",
    scope="exact",
    verdict="holds with an added hypothesis",
    claim=Claim(
        reads="½λ_{k+1}‖δ̄‖² ≥ L(θ̄) − L*",
        sides=_sides,
        relation="≥",
        hypotheses=(
            Hypothesis("P_S δ̄ = 0", _no_part, without=DIAGONAL._replace(displacement=np.array([1.0, 0.0]))),
            Hypothesis(
                "S is spanned by the sharpest eigenvectors of the Hessian",
                _holds_the_sharpest,
                without=SLANTED,
                added=True,
            ),
        ),
        ensembles=(Ensemble(_draw, _build),),
        tight=DIAGONAL,
    ),
    demonstrations=(Demonstration("a subspace that the Hessian does not keep leaves a cross term", _three_parts),),
)
