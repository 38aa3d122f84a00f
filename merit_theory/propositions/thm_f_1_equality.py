"""Theorem F.1, equality case: when merging gains nothing."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from merit_theory.ensembles import CONVEX_BASINS, Basin
from merit_theory.merging import merging_gain
from merit_theory.propositions.proposition import Batch, Claim, Ensemble, Hypothesis, Proposition, Sides
from merit_theory.propositions.thm_3_1_sign import convex


def _as_written(basin: Basin) -> Sides:
    """One where the gain vanishes, against one where all displacements lie in the null space."""
    size = jnp.abs(basin.hessian).max() * (basin.displacements**2).sum()
    no_gain = jnp.abs(merging_gain(basin.hessian, basin.displacements, basin.weights)) <= 1e-12 * size
    flat = jnp.abs(basin.displacements @ basin.hessian).max() <= 1e-12 * jnp.abs(basin.hessian).max()
    return Sides(jnp.where(no_gain, 1.0, 0.0), jnp.where(flat, 1.0, 0.0), 1.0)


def _widest_pair(basin: Basin) -> Float[Array, ""]:
    """Max w_i w_j ‖δ_i − δ_j‖²_H, zero if and only if all differences that carry weight lie in the null space."""
    differences = basin.displacements[:, None, :] - basin.displacements[None, :, :]
    squares = jnp.einsum("ijk,kl,ijl->ij", differences, basin.hessian, differences)
    return (jnp.outer(basin.weights, basin.weights) * squares).max()


def _sandwiched(basin: Basin) -> Sides:
    """The gain between two multiples of the widest pair: it vanishes exactly where that does."""
    gain = merging_gain(basin.hessian, basin.displacements, basin.weights)
    k = len(basin.weights)
    widest = _widest_pair(basin)
    scale = jnp.abs(basin.hessian).max() * (basin.displacements**2).sum()
    return Sides(jnp.stack([gain, k * (k - 1) / 4 * widest]), jnp.stack([0.5 * widest, gain]), scale)


def _draw(rng: np.random.Generator, n: int) -> Batch:
    drawn = CONVEX_BASINS.draw(rng, n)
    return drawn | {"common": rng.standard_normal(drawn["slope"].shape), "beyond": rng.uniform(-12.0, 0.0, n)}


def _build(drawn: Batch) -> Basin:
    """Branches that share one displacement and differ inside the null space, and beyond it by a little."""
    basin = CONVEX_BASINS.build(drawn)
    mirror = drawn["mirror"] / jnp.linalg.norm(drawn["mirror"])
    basis = jnp.eye(mirror.size) - 2 * jnp.outer(mirror, mirror)
    flat = basis * (drawn["signs"] == 0).astype(jnp.float64)[None, :]
    inside = basin.displacements @ flat @ flat.T
    beyond = 10.0 ** drawn["beyond"] * basin.displacements
    return basin._replace(displacements=drawn["common"][None, :] + inside + beyond)


EQUAL_BRANCHES = Basin(np.eye(2), np.zeros(2), np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0.5, 0.5]))

PROPOSITION = Proposition(
    id="thm-f.1-equality",
    reference="Theorem F.1, equality case",
    statement="The gain vanishes if and only if all displacements lie in the null space of the Hessian.",
    scope="exact",
    verdict="false as stated",
    claim=Claim(
        reads="[G = 0] = [all δ_k in Null(H)]",
        sides=_as_written,
        relation="=",
        hypotheses=(Hypothesis("the Hessian is positive semi-definite", convex),),
        refutations=(EQUAL_BRANCHES,),
    ),
    corrected=Claim(
        reads="¼K(K−1)·max w_i w_j‖δ_i − δ_j‖²_H ≥ G ≥ ½max w_i w_j‖δ_i − δ_j‖²_H",
        sides=_sandwiched,
        relation="≥",
        hypotheses=(
            Hypothesis(
                "the Hessian is positive semi-definite",
                convex,
                without=Basin(
                    np.diag([1.0, -1.0]), np.zeros(2), np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]), np.full(3, 1 / 3)
                ),
            ),
            Hypothesis(
                "no weight is negative",
                lambda basin: basin.weights.min() >= 0,
                without=Basin(np.eye(1), np.zeros(1), np.array([[0.0], [1.0], [2.0]]), np.array([1.0, -1.0, 1.0])),
            ),
        ),
        ensembles=(Ensemble(_draw, _build),),
        tight=Basin(np.eye(1), np.zeros(1), np.array([[0.0], [1.0]]), np.array([0.5, 0.5])),
    ),
)
