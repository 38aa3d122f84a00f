"""Hessians behind one small interface: dense, diagonal, and low rank plus diagonal for very many parameters.

Every class also holds one Hessian per task, as a leading axis of N on each of its arrays; products then go task by
task.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpy.typing import NDArray

from merit_theory.lanczos import ExtremeEigenvalues, lanczos_extremes
from merit_theory.precision import as_float64, check_finite, is_concrete
from merit_theory.pytree import pytree_dataclass

SpectralFunction = Callable[[Float[Array, "..."]], Float[Array, "..."]]
LANCZOS_STEPS = 64


class Hessian(ABC):
    """A symmetric matrix H, or a stack of N of them, that multiplies vectors."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Number of parameters d."""

    @property
    @abstractmethod
    def stack_shape(self) -> tuple[int, ...]:
        """``()`` for one Hessian, ``(N,)`` for one per task."""

    @abstractmethod
    def product(self, vectors: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """H v for vectors float64 [..., d]; the leading axes of a stack and of the vectors broadcast."""

    @abstractmethod
    def apply(self, function: SpectralFunction, vectors: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """f(H) v, with f given on eigenvalues: exact, by the eigenvectors."""

    @abstractmethod
    def mean(self, weights: Float[Array, " n"]) -> Self:
        """The weighted mean Σᵢ wᵢ Hᵢ over the tasks of a stack, weights float64 [N]."""

    @abstractmethod
    def extreme_eigenvalues(self) -> ExtremeEigenvalues:
        """Smallest and largest eigenvalue, of each Hessian in a stack."""

    @abstractmethod
    def dense(self) -> Float[Array, "*batch d d"]:
        """The matrix, float64 [..., d, d]."""

    def quadratic_form(self, vectors: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
        """vᵀHv for vectors float64 [..., d]."""
        return jnp.einsum("...i,...i->...", vectors, self.product(vectors))


@pytree_dataclass
class DenseHessian(Hessian):
    """A Hessian given as a matrix.

    Args:
        matrix: float64 [d, d], symmetric, or [N, d, d].

    Raises:
        ValueError: if the matrix is not square, finite and symmetric (not checked while JAX traces).

    >>> DenseHessian(jnp.array([[2.0, 1.0], [1.0, 3.0]])).product(jnp.array([1.0, 1.0])).tolist()
    [3.0, 4.0]
    """

    matrix: Float[Array, "*tasks d d"]

    def __post_init__(self) -> None:
        matrix = as_float64("the Hessian", self.matrix)
        object.__setattr__(self, "matrix", matrix)
        if matrix.ndim not in (2, 3) or matrix.shape[-1] != matrix.shape[-2] or matrix.size == 0:
            raise ValueError(f"the Hessian has shape {matrix.shape}; expected [d, d] or [N, d, d]")
        check_finite("the Hessian", matrix)
        if is_concrete(matrix) and _is_skew(np.asarray(matrix)):
            raise ValueError("the Hessian is not symmetric; average it with its transpose")

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return self.matrix.shape[-1]

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """``()`` for one Hessian, ``(N,)`` for one per task."""
        return self.matrix.shape[:-2]

    def product(self, vectors: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """H v; O(d²) for each vector."""
        return jnp.einsum("...ij,...j->...i", self.matrix, vectors)

    def apply(self, function: SpectralFunction, vectors: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """f(H) v by the full eigendecomposition."""
        eigenvalues, basis = jnp.linalg.eigh(self.matrix)
        coordinates = jnp.einsum("...ij,...i->...j", basis, vectors)
        return jnp.einsum("...ij,...j,...j->...i", basis, function(eigenvalues), coordinates)

    def mean(self, weights: Float[Array, " n"]) -> Self:
        """The weighted mean over the tasks of a stack."""
        return type(self)(jnp.einsum("n,nij->ij", weights, self.matrix))

    def extreme_eigenvalues(self) -> ExtremeEigenvalues:
        """Smallest and largest eigenvalue, exact."""
        values = jnp.linalg.eigvalsh(self.matrix)
        return ExtremeEigenvalues(values[..., 0], values[..., -1], jnp.zeros(self.stack_shape))

    def dense(self) -> Float[Array, "*batch d d"]:
        """The matrix itself."""
        return self.matrix


@pytree_dataclass
class DiagonalHessian(Hessian):
    """A Hessian in its own eigenbasis.

    Args:
        diagonal: float64 [d], the eigenvalues, or [N, d].

    Raises:
        ValueError: if an eigenvalue is not finite (not checked while JAX traces).

    >>> DiagonalHessian(jnp.array([2.0, 3.0])).quadratic_form(jnp.array([1.0, 2.0])).item()
    14.0
    """

    diagonal: Float[Array, "*tasks d"]

    def __post_init__(self) -> None:
        diagonal = as_float64("the Hessian's diagonal", self.diagonal)
        object.__setattr__(self, "diagonal", diagonal)
        if diagonal.ndim not in (1, 2) or diagonal.size == 0:
            raise ValueError(f"the Hessian's diagonal has shape {diagonal.shape}; expected [d] or [N, d]")
        check_finite("the Hessian's diagonal", diagonal)

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return self.diagonal.shape[-1]

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """``()`` for one Hessian, ``(N,)`` for one per task."""
        return self.diagonal.shape[:-1]

    def product(self, vectors: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """H v; O(d) for each vector."""
        return jnp.einsum("...i,...i->...i", self.diagonal, vectors)

    def apply(self, function: SpectralFunction, vectors: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """f(H) v, coordinate by coordinate."""
        return jnp.einsum("...i,...i->...i", function(self.diagonal), vectors)

    def mean(self, weights: Float[Array, " n"]) -> Self:
        """The weighted mean over the tasks of a stack."""
        return type(self)(weights @ self.diagonal)

    def extreme_eigenvalues(self) -> ExtremeEigenvalues:
        """Smallest and largest eigenvalue, exact."""
        return ExtremeEigenvalues(self.diagonal.min(axis=-1), self.diagonal.max(axis=-1), jnp.zeros(self.stack_shape))

    def dense(self) -> Float[Array, "*batch d d"]:
        """The matrix, float64 [..., d, d]."""
        return jnp.einsum("...i,ij->...ij", self.diagonal, jnp.eye(self.dimension))


@pytree_dataclass
class LowRankHessian(Hessian):
    r"""A diagonal plus r rank-one terms, \(H = \operatorname{diag}(c) + F \operatorname{diag}(s) F^\top\).

    A constant diagonal is given by its one number, as shape [1]; only then functions of H have a closed form.

    Args:
        diagonal: float64 [d] or [1], or with a leading axis N.
        factors: float64 [d, r] or [N, d, r]; the columns need not be orthogonal.
        scales: float64 [r] or [N, r], of any sign.

    Raises:
        ValueError: if shapes do not fit or an entry is not finite (not checked while JAX traces).

    >>> hessian = LowRankHessian(jnp.array([1.0]), jnp.array([[1.0], [1.0], [0.0]]), jnp.array([2.0]))
    >>> hessian.product(jnp.array([1.0, 0.0, 0.0])).tolist()
    [3.0, 2.0, 0.0]
    >>> round(hessian.extreme_eigenvalues().largest.item(), 12)
    5.0
    """

    diagonal: Float[Array, "*tasks d_or_1"]
    factors: Float[Array, "*tasks d r"]
    scales: Float[Array, "*tasks r"]

    def __post_init__(self) -> None:
        for name in ("diagonal", "factors", "scales"):
            value = as_float64(f"the Hessian's {name}", getattr(self, name))
            object.__setattr__(self, name, value)
            check_finite(f"the Hessian's {name}", value)
        stack, (dimension, rank) = self.factors.shape[:-2], self.factors.shape[-2:]
        shapes = f"diagonal {self.diagonal.shape}, factors {self.factors.shape}, scales {self.scales.shape}"
        fits = self.diagonal.shape in ((*stack, dimension), (*stack, 1)) and self.scales.shape == (*stack, rank)
        if not fits or len(stack) > 1 or dimension == 0:
            raise ValueError(f"the Hessian has {shapes}; expected [d] or [1], [d, r], [r], or all with a leading N")

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return self.factors.shape[-2]

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """``()`` for one Hessian, ``(N,)`` for one per task."""
        return self.factors.shape[:-2]

    @property
    def has_constant_diagonal(self) -> bool:
        """Whether the diagonal is one number, so that functions of H have a closed form."""
        return self.diagonal.shape[-1] == 1

    def product(self, vectors: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """H v; O(d r) for each vector."""
        diagonal = jnp.broadcast_to(self.diagonal, (*self.stack_shape, self.dimension))
        inner = jnp.einsum("...r,...ir,...i->...r", self.scales, self.factors, vectors)
        return jnp.einsum("...i,...i->...i", diagonal, vectors) + jnp.einsum("...ir,...r->...i", self.factors, inner)

    def apply(self, function: SpectralFunction, vectors: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
        """f(H) v in O(d r²), by the eigenvectors outside the constant part.

        Raises:
            ValueError: if the diagonal is not constant.
        """
        if not self.has_constant_diagonal:
            raise ValueError(
                "functions of a low-rank Hessian need a constant diagonal, of shape [1]; use products or a dense matrix"
            )
        shifts, basis = self._outside_constant_part()
        base = function(self.diagonal)
        coordinates = jnp.einsum("...ir,...i->...r", basis, vectors)
        correction = jnp.einsum("...ir,...r,...r->...i", basis, function(self.diagonal + shifts) - base, coordinates)
        return jnp.einsum("...o,...i->...i", base, vectors) + correction

    def _outside_constant_part(self) -> tuple[Float[Array, "*tasks q"], Float[Array, "*tasks d q"]]:
        """Eigenvalues and orthonormal eigenvectors of F diag(s) Fᵀ, q = min(d, r) of them."""
        orthonormal, triangle = jnp.linalg.qr(self.factors)
        core = jnp.einsum("...ir,...r,...jr->...ij", triangle, self.scales, triangle)
        shifts, rotation = jnp.linalg.eigh(core)
        return shifts, orthonormal @ rotation

    def mean(self, weights: Float[Array, " n"]) -> Self:
        """The weighted mean over the tasks of a stack; its rank is N r."""
        factors = jnp.moveaxis(self.factors, 0, 1).reshape(self.dimension, -1)
        return type(self)(weights @ self.diagonal, factors, (weights[:, None] * self.scales).reshape(-1))

    def extreme_eigenvalues(self) -> ExtremeEigenvalues:
        """Smallest and largest eigenvalue: exact for a constant diagonal, otherwise 64 Lanczos steps."""
        if self.stack_shape:
            return jax.vmap(type(self).extreme_eigenvalues)(self)
        if self.has_constant_diagonal:
            shifts, _ = self._outside_constant_part()
            if shifts.shape[-1] < self.dimension:
                shifts = jnp.concatenate([shifts, jnp.zeros(1)])
            return ExtremeEigenvalues(self.diagonal[0] + shifts.min(), self.diagonal[0] + shifts.max(), jnp.zeros(()))
        return _extremes_by_products(self)

    def dense(self) -> Float[Array, "*batch d d"]:
        """The matrix, float64 [..., d, d]."""
        diagonal = jnp.broadcast_to(self.diagonal, (*self.stack_shape, self.dimension))
        low_rank = jnp.einsum("...ir,...r,...jr->...ij", self.factors, self.scales, self.factors)
        return jnp.einsum("...i,ij->...ij", diagonal, jnp.eye(self.dimension)) + low_rank


def _is_skew(matrix: NDArray[np.float64]) -> bool:
    """Whether some matrix of [..., d, d] is asymmetric beyond rounding."""
    skew = np.abs(matrix - np.swapaxes(matrix, -1, -2)).max(axis=(-1, -2))
    return bool((skew > 1e-10 * np.abs(matrix).max(axis=(-1, -2))).any())


@jax.jit
def _extremes_by_products(hessian: LowRankHessian) -> ExtremeEigenvalues:
    """Lanczos from a random start, which has a component along every eigenvector; the key is fixed for one result."""
    start = jax.random.normal(jax.random.key(0), (hessian.dimension,), dtype=jnp.float64)
    return lanczos_extremes(hessian.product, start, LANCZOS_STEPS)


def as_hessian(hessian: Hessian | ArrayLike) -> Hessian:
    """The Hessian itself, or a `DenseHessian` of a matrix [d, d] or [N, d, d].

    >>> as_hessian(jnp.eye(2)).dimension
    2
    """
    return hessian if isinstance(hessian, Hessian) else DenseHessian(as_float64("the Hessian", hessian))
