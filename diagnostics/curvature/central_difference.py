"""Hessian products from gradients alone, for models whose second derivative does not fit in memory.

No fixed step is right for all directions: too short a one is lost in rounding, too long a one meets the third
derivative. Steps grow here until two neighbours agree, and how far they differ is the error that is reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter

from diagnostics.curvature.loss_operator import LossOperator
from diagnostics.curvature.loss_terms import LossTerm
from diagnostics.curvature.reductions import norm
from training.errors import InputError

GROWTH = 4.0
"""Ratio of one step to the one before: truncation grows by 16, rounding shrinks by 4."""
EPSILON = torch.finfo(torch.float32).eps
"""Rounding to expect in float64 too: some layers (RMSNorm) compute in float32 whatever the dtype of the model."""
FELT = 0.9
"""Share of the norm of a direction, within each tensor, that a step must move."""
NEGLIGIBLE = 1e-4
"""Share of the norm of a direction below which it has no part in a tensor."""
LONGEST = 0.1
"""No step moves the parameters by more than this share of their norm."""
MARGIN = 4 / 3
"""Error bar over the difference of neighbours, which falls short of the worse one's error by 1/15 of it at most where
truncation rules and hides a little more where both errors are of one size."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A Hessian product with what is known of its error.

    Attributes:
        product: [dimension], in nats per answer token.
        step: distance by which the parameters were moved to either side.
        error: estimated bound on its distance from the truth: that from the step before, plus rounding.
    """

    product: Tensor
    step: float
    error: float

    @property
    def relative_error(self) -> float:
        """The error over the norm of the product; infinite where the product is zero and its error is not."""
        size = norm(self.product)
        if size == 0:
            return 0.0 if self.error == 0 else float("inf")
        return self.error / size


class DifferenceOperator(LossOperator):
    r"""The Hessian of Σ losses / Σ tokens by central differences of gradients.

    $$H v \approx \|v\| \, \frac{\nabla L(\theta + \varepsilon \hat v) - \nabla L(\theta - \varepsilon \hat v)}
    {2\varepsilon}, \qquad \hat v = v / \|v\|$$

    A product costs two gradients per step tried, and three vectors of memory. Parameters are moved in place and put
    back to the bit, also when a gradient fails.
    """

    def __init__(
        self, parameters: Mapping[str, Parameter], terms: Sequence[LossTerm], *, tolerance: float = 1e-3
    ) -> None:
        """Make the operator; arguments and errors as for the Hessian's.

        Args:
            parameters: what is differentiated, by name.
            terms: the micro-batches.
            tolerance: relative error at which no further step is tried. It may not be reached: rounding sets a limit.
        """
        super().__init__(parameters, terms)
        self._tolerance = tolerance
        self.relative_errors: list[float] = []

    def product(self, vector: Tensor) -> Tensor:
        """The Hessian times ``vector`` [dimension]; its relative error is appended to ``relative_errors``."""
        found = self.difference(vector)
        self.relative_errors.append(found.relative_error)
        return found.product

    def difference(self, vector: Tensor) -> Difference:
        """The Hessian times ``vector`` [dimension] with its step and its error.

        Raises:
            ValueError: a vector of another length, dtype or device.
            InputError: no step of this direction gave a finite gradient.
        """
        self._layout.unflatten(vector)
        length = norm(vector)
        if length == 0:
            return Difference(torch.zeros_like(vector), 0.0, 0.0)
        size = norm(self._layout.flatten(self._parameters)) or 1.0
        # From the shortest step upwards, because steps so long that the loss saturates agree with each other, too.
        step = GROWTH * EPSILON * size
        while step < LONGEST * size and not self._is_felt(vector, step / length):
            step *= GROWTH
        before, _ = self._at(vector, step / length)
        best: Difference | None = None
        while GROWTH * step <= LONGEST * size:
            step *= GROWTH
            after, rounding = self._at(vector, step / length)
            error = MARGIN * norm(after - before) + rounding
            if not error < (best.error if best else float("inf")):
                break
            best, before = Difference(after, step, error), after
            if best.relative_error <= self._tolerance:
                break
        if best is None:
            raise InputError("gradients near the parameters are not finite; curvature needs a smooth, finite loss")
        return best

    def _is_felt(self, vector: Tensor, scale: float) -> bool:
        """Whether moving by ±``scale`` changes most of each tensor that the direction has a part in.

        Steps that rounding swallows agree with each other: their differences would be wrong and look sure.
        """
        threshold = NEGLIGIBLE * norm(vector)
        for name, piece in self._layout.unflatten(vector).items():
            origin = self._parameters[name].detach()
            moved = (origin + scale * piece).float() != (origin - scale * piece).float()
            whole = norm(piece.reshape(-1))
            if whole > threshold and norm((piece * moved).reshape(-1)) < FELT * whole:
                return False
        return True

    def _at(self, vector: Tensor, scale: float) -> tuple[Tensor, float]:
        """The central difference along ``vector`` between ±``scale`` times it, and what rounding alone may hide."""
        with _Moved(self._parameters, self._layout.unflatten(vector)) as moved:
            moved.to(scale)
            forwards = self._gradient()
            moved.to(-scale)
            # Two differences can agree by chance to the last digit of the gradients, but are no better than that.
            rounding = torch.finfo(self.dtype).eps * norm(forwards) / scale
            return forwards.sub_(self._gradient()).div_(2 * scale), rounding

    def _gradient(self) -> Tensor:
        total = torch.zeros(self.dimension, dtype=self.dtype, device=self.device)
        for term in self._terms:
            gradients = torch.autograd.grad(term.total(), tuple(self._parameters.values()), materialize_grads=True)
            total += self._layout.flatten(dict(zip(self._parameters, gradients, strict=True)))
        return total.div_(self.tokens)


class _Moved:
    """Parameters displaced along a direction inside a ``with``, bit for bit themselves after it."""

    def __init__(self, parameters: Mapping[str, Parameter], direction: Mapping[str, Tensor]) -> None:
        self._parameters = parameters
        self._direction = direction
        self._origin = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    def __enter__(self) -> "_Moved":
        return self

    @torch.no_grad()
    def to(self, scale: float) -> None:
        for name, parameter in self._parameters.items():
            # Through .data, which autograd does not record: graphs that others keep are valid again afterwards.
            torch.add(self._origin[name], self._direction[name], alpha=scale, out=parameter.data)

    @torch.no_grad()
    def __exit__(self, *_: object) -> None:
        for name, parameter in self._parameters.items():
            parameter.data.copy_(self._origin[name])
