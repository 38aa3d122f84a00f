"""Exact Hessian products of the one loss, by differentiating twice."""

from collections.abc import Sequence

import torch
from torch import Tensor

from diagnostics.curvature.loss_operator import TermwiseOperator
from diagnostics.curvature.loss_terms import LossTerm, twice_differentiable


class HessianOperator(TermwiseOperator[tuple[Tensor, ...]]):
    r"""The Hessian of Σ losses / Σ tokens with respect to ``parameters``, by double backward.

    $$H v = \nabla_\theta \left( v^\top \nabla_\theta L \right)$$

    >>> weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> cubes = LossTerm(outputs=lambda: weight, losses=lambda outputs: outputs**3, tokens=2)
    >>> HessianOperator({"weight": weight}, [cubes], graph_bytes=0).product(torch.ones(2))
    tensor([3., 6.])
    """

    def _graph(self, term: LossTerm) -> tuple[Tensor, ...]:
        with twice_differentiable():
            return torch.autograd.grad(
                term.total(), tuple(self._parameters.values()), create_graph=True, materialize_grads=True
            )

    def _multiply(self, term: LossTerm, graph: tuple[Tensor, ...], pieces: tuple[Tensor, ...]) -> Sequence[Tensor]:
        # A parameter that the loss is linear in may have a gradient that depends on nothing.
        varying = [pair for pair in zip(graph, pieces, strict=True) if pair[0].requires_grad]
        if not varying:
            return [torch.zeros_like(parameter) for parameter in self._parameters.values()]
        return torch.autograd.grad(
            [gradient for gradient, _ in varying],
            tuple(self._parameters.values()),
            [piece for _, piece in varying],
            retain_graph=True,
            materialize_grads=True,
        )
