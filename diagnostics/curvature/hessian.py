"""Exact Hessian products of the one loss, by differentiating twice."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from diagnostics.curvature.kept_graphs import KeptGraphs
from diagnostics.curvature.loss_terms import LossTerm, token_count, twice_differentiable
from diagnostics.curvature.parameters import VectorLayout


class HessianOperator:
    r"""The Hessian of Σ losses / Σ tokens with respect to ``parameters``, by double backward.

    $$H v = \nabla_\theta \left( v^\top \nabla_\theta L \right)$$

    >>> weight = Parameter(torch.tensor([1.0, 2.0]))
    >>> cubes = LossTerm(outputs=lambda: weight, losses=lambda outputs: outputs**3, tokens=2)
    >>> HessianOperator({"weight": weight}, [cubes], graph_bytes=0).product(torch.ones(2))
    tensor([3., 6.])
    """

    def __init__(self, parameters: Mapping[str, Parameter], terms: Sequence[LossTerm], *, graph_bytes: int) -> None:
        """Make the operator at the present values of ``parameters``.

        Args:
            parameters: what is differentiated, by name; all other parameters are constants.
            terms: the micro-batches.
            graph_bytes: memory for graphs that stay between products, filled in the order of ``terms``; 0 builds every
                graph anew, which costs up to 1.7 times as much per product.

        Raises:
            InputError: the loss is not finite or not deterministic.
        """
        self._parameters = dict(parameters)
        self._layout = VectorLayout.of(parameters)
        self.dimension = self._layout.dimension
        self.device = self._layout.device
        self.dtype = self._layout.dtype
        self._terms = terms
        self._tokens = token_count(terms)
        self.graphs: KeptGraphs[tuple[Tensor, ...]] = KeptGraphs(self._parameters, graph_bytes)

    def product(self, vector: Tensor) -> Tensor:
        """The Hessian times ``vector`` [dimension], in nats per answer token.

        Raises:
            ValueError: a vector of another length, dtype or device, or parameters changed since.
        """
        pieces = tuple(self._layout.unflatten(vector).values())
        total = torch.zeros_like(vector)
        for number, term in enumerate(self._terms):
            gradients = self.graphs.get(number, lambda term=term: self._gradients(term))
            total += self._second(gradients, pieces)
        return total.div_(self._tokens)

    def _gradients(self, term: LossTerm) -> tuple[Tensor, ...]:
        with twice_differentiable():
            return torch.autograd.grad(
                term.total(), tuple(self._parameters.values()), create_graph=True, materialize_grads=True
            )

    def _second(self, gradients: Sequence[Tensor], pieces: Sequence[Tensor]) -> Tensor:
        # A parameter that the loss is linear in may have a gradient that depends on nothing.
        varying = [pair for pair in zip(gradients, pieces, strict=True) if pair[0].requires_grad]
        if not varying:
            return torch.zeros(self.dimension, dtype=self.dtype, device=self.device)
        products = torch.autograd.grad(
            [gradient for gradient, _ in varying],
            tuple(self._parameters.values()),
            [piece for _, piece in varying],
            retain_graph=True,
            materialize_grads=True,
        )
        return self._layout.flatten(dict(zip(self._parameters, products, strict=True)))
