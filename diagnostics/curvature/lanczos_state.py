"""One Lanczos process: an orthonormal basis, the operator's projection on it, and how both grow and shrink."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diagnostics.curvature.basis import Basis
from diagnostics.curvature.operator import CurvatureOperator
from diagnostics.curvature.reductions import norm

BREAKDOWN_EPSILONS = 100


@dataclass(slots=True)
class LanczosState:
    r"""Vectors $V_m$ with the measured projection $T = V_m^\top H V_m$, and the next vector $v_{m+1}$ in the basis.

    Every product is orthogonalised twice against all stored vectors (ghost values appear otherwise), and all entries
    of T are measured, so that Rayleigh–Ritz stays valid when rounded storage breaks the three-term recurrence. Where
    the Krylov space is exhausted the next vector is random, orthogonal to it and uncoupled.

    Attributes:
        basis: m vectors that were multiplied, and one that was not unless the whole space is spanned.
        projection: float64 [capacity, capacity]; its leading m × m block is T.
        multiplied: m.
        coupling: norm of the last product's part outside the span, zero where there is none.
        products: products taken so far.
        found: float64 [k], values a search for further copies started from; empty before.
        found_after: products taken until then.
        generator: of the random vectors, on the host.
    """

    basis: Basis
    generator: torch.Generator
    projection: Tensor = field(init=False)
    multiplied: int = 0
    coupling: float = 0.0
    products: int = 0
    found: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.float64))
    found_after: int = 0

    def __post_init__(self) -> None:
        capacity = len(self.basis.rows)
        self.projection = torch.zeros(capacity, capacity, dtype=torch.float64)

    @property
    def spans_everything(self) -> bool:
        """Whether no vector is left to multiply because the basis spans the whole space."""
        return self.multiplied == self.basis.rows.shape[1]

    def begin(self, vector: Tensor) -> None:
        """Start from ``vector`` ([n], any norm but zero)."""
        self.basis.append(vector / norm(vector))

    def begin_at_random(self, like: Tensor) -> None:
        """Append a random unit vector orthogonal to all stored ones; ``like`` gives dtype, device and length."""
        vector = torch.randn(like.shape, generator=self.generator, dtype=like.dtype).to(like.device)
        self._orthogonalise(vector)
        # Normalised in between: what rounding leaves of the first pass is then relative to a vector of norm one.
        vector /= norm(vector)
        self._orthogonalise(vector)
        self.basis.append(vector / norm(vector))

    def expand(self, operator: CurvatureOperator) -> None:
        """Multiply the newest vector, extend T by its row and column, and append the next vector.

        Raises:
            ValueError: the product is not finite.
        """
        column = self.multiplied
        like = torch.empty(0, dtype=operator.dtype, device=operator.device)
        image = operator.product(self.basis.vector(column, like))
        self.products += 1
        coefficients = self._orthogonalise(image)
        coefficients += self._orthogonalise(image)
        coupling = norm(image)
        if not (torch.isfinite(coefficients).all() and math.isfinite(coupling)):
            raise ValueError(
                f"product {self.products} of the operator is not finite; measure at a point of finite loss"
            )
        self.projection[: column + 1, column] = coefficients
        self.projection[column, : column + 1] = coefficients
        self.multiplied += 1
        noise = BREAKDOWN_EPSILONS * torch.finfo(operator.dtype).eps * self.projection.abs().max().item()
        self.coupling = coupling if coupling > noise and not self.spans_everything else 0.0
        if self.coupling:
            self.basis.append(image / coupling)
        elif not self.spans_everything:
            self.begin_at_random(image)

    def ritz(self) -> tuple[Tensor, Tensor]:
        """Ritz values (float64 [m], ascending) and their coordinates in the basis (float64 [m, m], columns)."""
        values, coordinates = torch.linalg.eigh(self.projection[: self.multiplied, : self.multiplied])
        return values, coordinates

    def quadrature(self) -> tuple[Tensor, Tensor]:
        r"""Gauss nodes (float64 [m], ascending) and weights (float64 [m], sum one) of the start vector u.

        $\sum_j w_j f(x_j) = u^\top f(H) u$ for every polynomial f of degree below 2m (Golub and Meurant, Matrices,
        Moments and Quadrature, chapter 6), as long as the process was not restarted.
        """
        values, coordinates = self.ritz()
        return values, coordinates[0] ** 2

    def restart(self, values: Tensor, coordinates: Tensor) -> None:
        """Keep the Ritz vectors with ``values`` ([k]) and ``coordinates`` ([m, k]), and the next vector behind them."""
        self.basis.rotate(coordinates)
        self.multiplied = len(values)
        self.projection.zero_()
        self.projection.diagonal()[: len(values)] = values

    def replace_next(self, like: Tensor) -> None:
        """Exchange the next vector for a random one, orthogonal to the multiplied ones."""
        self.basis.count = self.multiplied
        self.begin_at_random(like)
        self.coupling = 0.0

    def _orthogonalise(self, vector: Tensor) -> Tensor:
        coefficients = self.basis.dots(vector)
        self.basis.subtract(coefficients, vector)
        return coefficients
