r"""How far the leading axes of the cosine matrix can be from those of the Gram matrix (F.4), and when nothing is known.

With R the ratio of the largest to the smallest gradient norm, e = (R-1)/(R+1) and γ the harmonic midpoint of the norms,
γ²C = (I+E)K₀(I+E) for a diagonal E of entries at most e in size. So γ²C differs from K₀ by at most (2e+e²)λ₁(K₀), and
the Davis-Kahan theorem in the form of Yu, Wang and Samworth bounds the rotation of the r leading axes:

$$\lVert\sin\Theta\rVert \le \frac{2(2e+e^2)\,\lambda_1(K_0)}{\lambda_r - \lambda_{r+1}}$$

A sine is at most one, so at best, λ₁ = λ_r - λ_{r+1}, the bound says nothing from R = 1.58 on; norms of real task
gradients spread further. Centring C and K₀ alike leaves λ₁ of the *uncentred* K₀ in the numerator and takes the gap of
the centred one: a gradient that all tasks share makes that vacuous, and there the axes do come apart.
"""

from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from merit_theory.conflict import as_symmetric
from merit_theory.precision import as_float64, is_concrete
from merit_theory.split_gain import double_centred

Centring = Literal["none", "double"]


def norm_spread(gram: ArrayLike) -> Float[Array, ""]:
    """R, the largest gradient norm over the smallest.

    Args:
        gram: float [n, n], inner products of the task gradients, positive diagonal.

    >>> norm_spread([[4.0, 1.0], [1.0, 1.0]]).item()
    2.0
    """
    norms = jnp.sqrt(jnp.diagonal(_as_gram(gram)))
    return norms.max() / norms.min()


def relative_misfit(spread: ArrayLike) -> Float[Array, ""]:
    """The least e such that one factor brings all gradient norms into [1-e, 1+e] after inversion: (R-1)/(R+1).

    >>> relative_misfit(3.0).item()
    0.5
    """
    ratio = as_float64("norm spread", spread)
    if is_concrete(ratio) and not ratio.item() >= 1:
        raise ValueError(f"norm spread is {ratio.item():.9g}; the largest norm over the smallest is at least 1")
    return (ratio - 1) / (ratio + 1)


def rotation_bound(gram: ArrayLike, n_axes: int, centre: Centring) -> Float[Array, ""]:
    """Upper bound on sin Θ between the leading eigenspaces of the Gram and of the cosine matrix (F.4).

    Args:
        gram: float [n, n], positive semi-definite, positive diagonal.
        n_axes: r, 1 ≤ r < n.
        centre: ``none``, or ``double`` for the eigenspaces of PK₀P and PCP.

    Returns:
        The bound, infinite without an eigengap; at one and above it says nothing.

    >>> rotation_bound(jnp.diag(jnp.array([1.21, 1.0])) + 1.0, 1, "none").item() < 1
    True
    """
    products = _as_gram(gram)
    if not 1 <= n_axes < len(products):
        raise ValueError(f"{n_axes} axes of {len(products)} tasks; expected 1 ≤ axes < tasks")
    eigenvalues = jnp.linalg.eigvalsh(_centred(products, centre))[::-1]
    misfit = relative_misfit(norm_spread(products))
    perturbation = (2 * misfit + misfit**2) * jnp.linalg.eigvalsh(products)[-1]
    gap = eigenvalues[n_axes - 1] - eigenvalues[n_axes]
    return jnp.where(gap > 0, 2 * perturbation / gap, jnp.inf)


def vacuous_spread(condition: ArrayLike = 1.0) -> Float[Array, ""]:
    """Norm spread R from which the bound is at least one: e = √(1 + 1/(2κ)) - 1 with κ = λ₁/(λ_r - λ_{r+1}).

    Args:
        condition: κ ≥ 1; one, the best there is, needs λ₁ = λ_r and λ_{r+1} = 0.

    >>> round(vacuous_spread().item(), 2)
    1.58
    """
    kappa = as_float64("condition", condition)
    if is_concrete(kappa) and not kappa.item() >= 1:
        raise ValueError(f"condition is {kappa.item():.9g}; λ₁ over an eigengap of a Gram matrix is at least 1")
    misfit = jnp.sqrt(1 + 1 / (2 * kappa)) - 1
    return (1 + misfit) / (1 - misfit)


def cosine_of_gram(gram: ArrayLike) -> Float[Array, "n n"]:
    """C = D⁻¹K₀D⁻¹ (lemma L1): `conflict.cosine_from_gram` for use inside JAX transformations."""
    products = _as_gram(gram)
    norms = jnp.sqrt(jnp.diagonal(products))
    return products / (norms[:, None] * norms[None, :])


def leading_eigenspace(matrix: ArrayLike, n_axes: int, centre: Centring) -> Float[Array, "n r"]:
    """Orthonormal eigenvectors of the algebraically largest eigenvalues.

    Args:
        matrix: float [n, n], symmetric.
        n_axes: r, 1 ≤ r ≤ n.
        centre: ``none``, or ``double`` for those of PMP.
    """
    square = as_float64("the matrix", matrix)
    if not 1 <= n_axes <= len(square):
        raise ValueError(f"{n_axes} axes of {len(square)} tasks; expected 1 ≤ axes ≤ tasks")
    return jnp.linalg.eigh(_centred(square, centre))[1][:, ::-1][:, :n_axes]


def largest_sine(basis: Float[Array, "n r"], other: Float[Array, "n r"]) -> Float[Array, ""]:
    """The sine of `conflict.subspace_distance` for orthonormal columns, usable inside JAX transformations."""
    if basis.ndim != 2 or basis.shape != other.shape:
        raise ValueError(f"bases have shapes {basis.shape} and {other.shape}; expected the same [n, r]")
    return jnp.minimum(jnp.linalg.norm(other - basis @ (basis.T @ other), ord=2), 1.0)


def _centred(matrix: Float[Array, "n n"], centre: Centring) -> Float[Array, "n n"]:
    if centre not in get_args(Centring):
        raise ValueError(f"centre is {centre!r}; expected one of {', '.join(get_args(Centring))}")
    return matrix if centre == "none" else double_centred(matrix)


def _as_gram(gram: ArrayLike) -> Float[Array, "n n"]:
    products = as_float64("the Gram matrix", gram)
    if not is_concrete(products):
        return products
    symmetric = as_symmetric(np.asarray(products))
    if not (np.diagonal(symmetric) > 0).all():
        raise ValueError(f"task {np.argmin(np.diagonal(symmetric) > 0)} has a zero gradient and so no direction")
    return jnp.asarray(symmetric)
