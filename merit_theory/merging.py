"""What averaging branches does in a basin: the merged displacement, the gain in its equal forms, and its bounds."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from merit_theory.hessian import Hessian, as_hessian
from merit_theory.precision import as_float64, check_unit_sum

Loss = Callable[[Float[Array, " d"]], Float[Array, ""]]


def _branches(displacements: ArrayLike, weights: ArrayLike) -> tuple[Float[Array, "k d"], Float[Array, " k"]]:
    """Displacements [K, d] and weights [K] in float64, refused unless they make a merge."""
    moved, shares = as_float64("displacements", displacements), as_float64("merge weights", weights)
    if moved.ndim != 2:
        raise ValueError(f"displacements have shape {moved.shape}; expected [K, d]")
    if shares.shape != moved.shape[:1]:
        raise ValueError(f"merge weights have shape {shares.shape}; {len(moved)} branches need one each")
    check_unit_sum("merge weights", shares)
    return moved, shares


def merged_displacement(displacements: Float[Array, "k d"], weights: Float[Array, " k"]) -> Float[Array, " d"]:
    r"""Displacement of the merged model from the start, \(\bar\delta = \sum_k w_k \delta_k\) (section 3).

    Args:
        displacements: float64 [K, d], δ of every branch.
        weights: float64 [K], of sum one; negative ones are allowed.

    Raises:
        ValueError: if shapes do not fit or the weights do not sum to one (not checked while JAX traces).

    >>> merged_displacement(jnp.array([[1.0, 0.0], [-1.0, 2.0]]), jnp.array([0.5, 0.5])).tolist()
    [0.0, 1.0]
    """
    moved, shares = _branches(displacements, weights)
    return shares @ moved


def merging_gain(
    hessian: Hessian | ArrayLike, displacements: Float[Array, "k d"], weights: Float[Array, " k"]
) -> Float[Array, ""]:
    r"""Mean branch loss minus merged loss in a quadratic basin, as dispersion of the branches (Theorem 3.1/F.1).

    $$G = \tfrac12 \sum_k w_k \lVert \delta_k - \bar\delta \rVert_H^2$$

    Exact for any symmetric Hessian; non-negative when it is positive semi-definite and no weight is negative. Then it
    is zero if and only if all *differences* between branches of positive weight lie in the null space of H.

    Args:
        hessian: H, [d, d].
        displacements: float64 [K, d].
        weights: float64 [K], of sum one.

    >>> H = jnp.diag(jnp.array([4.0, 1.0]))
    >>> merging_gain(H, jnp.array([[1.0, 0.0], [-1.0, 0.0]]), jnp.array([0.5, 0.5])).item()
    2.0
    """
    moved, shares = _branches(displacements, weights)
    return 0.5 * shares @ as_hessian(hessian).quadratic_form(moved - (shares @ moved)[None, :])


def gain_by_definition(loss: Loss, displacements: Float[Array, "k d"], weights: Float[Array, " k"]) -> Float[Array, ""]:
    r"""Mean branch loss minus merged loss, \(\sum_k w_k L(\delta_k) - L(\bar\delta)\), for any loss.

    Its rounding error scales with Σ|w_k L(δ_k)|, because it is a difference of losses.

    Args:
        loss: of a displacement [d], a scalar.
        displacements: float64 [K, d].
        weights: float64 [K], of sum one.

    >>> gain_by_definition(lambda x: 5 + x[0] ** 2, jnp.array([[1.0], [-1.0]]), jnp.array([0.5, 0.5])).item()
    1.0
    """
    moved, shares = _branches(displacements, weights)
    return shares @ jax.vmap(loss)(moved) - loss(shares @ moved)


def gain_between_pairs(
    hessian: Hessian | ArrayLike, displacements: Float[Array, "k d"], weights: Float[Array, " k"]
) -> Float[Array, ""]:
    r"""The gain as a sum over pairs of branches, \(\tfrac12 \sum_{i<j} w_i w_j \lVert \delta_i - \delta_j \rVert_H^2\).

    Theorem 3.1/F.1, second form.

    Args:
        hessian: H, [d, d].
        displacements: float64 [K, d].
        weights: float64 [K], of sum one.

    >>> gain_between_pairs(jnp.eye(1), jnp.array([[1.0], [-1.0]]), jnp.array([0.5, 0.5])).item()
    0.5
    """
    moved, shares = _branches(displacements, weights)
    first, second = np.triu_indices(len(moved), 1)
    return 0.5 * (shares[first] * shares[second]) @ as_hessian(hessian).quadratic_form(moved[first] - moved[second])


def gain_by_eigendirection(
    hessian: Hessian | ArrayLike, displacements: Float[Array, "k d"], weights: Float[Array, " k"]
) -> Float[Array, " d"]:
    r"""The gain of every eigendirection, \(\tfrac12 \lambda_\ell \operatorname{Var}_w(u_\ell^\top \delta)\).

    Theorem 3.1/F.1, third form; the sum is the gain.

    Args:
        hessian: H, [d, d], made dense here.
        displacements: float64 [K, d].
        weights: float64 [K], of sum one.

    Returns:
        float64 [d], in ascending order of eigenvalue.

    >>> H = jnp.diag(jnp.array([4.0, 1.0]))
    >>> gain_by_eigendirection(H, jnp.array([[1.0, 1.0], [-1.0, -1.0]]), jnp.array([0.5, 0.5])).tolist()
    [0.5, 2.0]
    """
    moved, shares = _branches(displacements, weights)
    eigenvalues, basis = jnp.linalg.eigh(as_hessian(hessian).dense())
    coordinates = moved @ basis
    return 0.5 * eigenvalues * (shares @ (coordinates - (shares @ coordinates)[None, :]) ** 2)


def gain_upper_bound(
    hessian: Hessian | ArrayLike, displacements: Float[Array, "k d"], weights: Float[Array, " k"]
) -> Float[Array, ""]:
    r"""Largest gain that this much dispersion can give.

    $$\tfrac12 \lambda_{\max} \sum_k w_k \lVert\delta_k - \bar\delta\rVert^2$$

    Holds for weights that are not negative; reached if and only if the dispersion lies in the top eigenspace (Theorem
    3.1, last line, which is a statement at fixed dispersion).

    Args:
        hessian: H, [d, d].
        displacements: float64 [K, d].
        weights: float64 [K], of sum one.

    >>> H = jnp.diag(jnp.array([4.0, 1.0]))
    >>> gain_upper_bound(H, jnp.array([[0.0, 1.0], [0.0, -1.0]]), jnp.array([0.5, 0.5])).item()
    2.0
    """
    return 0.5 * as_hessian(hessian).extreme_eigenvalues().largest * contraction(displacements, weights).dispersion


class Contraction(NamedTuple):
    """Squared Euclidean lengths; the first is the second minus the third."""

    merged: Float[Array, ""]
    mean_branch: Float[Array, ""]
    dispersion: Float[Array, ""]


def contraction(displacements: Float[Array, "k d"], weights: Float[Array, " k"]) -> Contraction:
    r"""How much shorter merging makes the way from the start (E2/E11).

    $$\lVert\bar\delta\rVert^2 = \sum_k w_k \lVert\delta_k\rVert^2 - \sum_k w_k \lVert\delta_k - \bar\delta\rVert^2$$

    Exact for all weights of sum one. It compares the merged model with its branches; it does not say that the merged
    model is closer to the start than joint training, which is false in general.

    Args:
        displacements: float64 [K, d].
        weights: float64 [K], of sum one.

    >>> [length.item() for length in contraction(jnp.array([[3.0], [1.0]]), jnp.array([0.5, 0.5]))]
    [4.0, 5.0, 1.0]
    """
    moved, shares = _branches(displacements, weights)
    centre = shares @ moved
    dispersion = shares @ ((moved - centre[None, :]) ** 2).sum(axis=1)
    return Contraction((centre**2).sum(), shares @ (moved**2).sum(axis=1), dispersion)


def error_at_merge(
    displacements: Float[Array, "k d"], weights: Float[Array, " k"], lipschitz: float | Float[Array, ""]
) -> Float[Array, ""]:
    r"""How far the gain of any smooth loss is from `merging_gain` with the Hessian *at the merged model* (F.2, sharp).

    $$\tfrac{\rho}{6} \sum_k w_k \lVert\delta_k - \bar\delta\rVert^3$$

    Holds without stationarity, because the linear part cancels. Reached by a cubic with one light and distant branch.

    Args:
        displacements: float64 [K, d].
        weights: float64 [K], of sum one and none negative.
        lipschitz: ρ, Lipschitz constant of the loss's Hessian in operator norm on the branches' convex hull.

    >>> error_at_merge(jnp.array([[1.0], [-1.0]]), jnp.array([0.5, 0.5]), 6.0).item()
    1.0
    """
    moved, shares = _branches(displacements, weights)
    return as_float64("lipschitz", lipschitz) / 6 * (shares @ _lengths(moved - (shares @ moved)[None, :]) ** 3)


def error_at_reference(
    displacements: Float[Array, "k d"],
    weights: Float[Array, " k"],
    *,
    lipschitz: float | Float[Array, ""],
    mismatch_lipschitz: float | Float[Array, ""] = 0.0,
    mismatch_curvature: float | Float[Array, ""] = 0.0,
) -> Float[Array, ""]:
    r"""How far the gain in population loss is from `merging_gain` with the training Hessian *at a reference* (F.2).

    With loss L_S + Δ, displacements from the reference, and \(V_p = \sum_k w_k\lVert\delta_k-\bar\delta\rVert^p\):

    $$\tfrac12\lVert\nabla^2\Delta(\bar\theta)\rVert V_2 + \tfrac{\rho_S}{2}\lVert\bar\delta\rVert V_2
        + \tfrac{\rho_S + \rho_\Delta}{6} V_3$$

    Args:
        displacements: float64 [K, d], from the reference, where the Hessian is taken.
        weights: float64 [K], of sum one and none negative.
        lipschitz: ρ_S, Lipschitz constant of the training loss's Hessian.
        mismatch_lipschitz: ρ_Δ, the same for Δ, population minus training loss; zero without mismatch.
        mismatch_curvature: operator norm of ∇²Δ at the merged model; zero without mismatch.

    >>> error_at_reference(jnp.array([[2.0], [0.0]]), jnp.array([0.5, 0.5]), lipschitz=6.0).item()
    4.0
    """
    moved, shares = _branches(displacements, weights)
    own, other = as_float64("lipschitz", lipschitz), as_float64("mismatch_lipschitz", mismatch_lipschitz)
    lengths = contraction(moved, shares)
    curvature_error = as_float64("mismatch_curvature", mismatch_curvature) + own * jnp.sqrt(lengths.merged)
    return 0.5 * curvature_error * lengths.dispersion + error_at_merge(moved, shares, own + other)


def crude_error_at_reference(
    displacements: Float[Array, "k d"], weights: Float[Array, " k"], lipschitz: float | Float[Array, ""]
) -> Float[Array, ""]:
    r"""The simpler bound on the same error, without mismatch.

    $$\tfrac\rho6 \Bigl(\sum_k w_k\lVert\delta_k\rVert^3 + \lVert\bar\delta\rVert^3\Bigr)
        \le \tfrac\rho3 \sum_k w_k \lVert\delta_k\rVert^3$$

    Like the others it holds at every reference, stationary or not.

    Args:
        displacements: float64 [K, d], from the reference, where the Hessian is taken.
        weights: float64 [K], of sum one and none negative.
        lipschitz: ρ, Lipschitz constant of the loss's Hessian.

    >>> crude_error_at_reference(jnp.array([[2.0], [0.0]]), jnp.array([0.5, 0.5]), 6.0).item()
    5.0
    """
    moved, shares = _branches(displacements, weights)
    branches = shares @ _lengths(moved) ** 3
    return as_float64("lipschitz", lipschitz) / 6 * (branches + jnp.linalg.norm(shares @ moved) ** 3)


def _lengths(vectors: Float[Array, "k d"]) -> Float[Array, " k"]:
    return jnp.linalg.norm(vectors, axis=1)
