"""Generalised Gauss-Newton products: the curvature that the loss has in the model's outputs, and no more."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diagnostics.curvature.loss_operator import TermwiseOperator
from diagnostics.curvature.loss_terms import LossTerm, twice_differentiable


@dataclass(frozen=True, slots=True)
class _Linearised:
    """A micro-batch's outputs, and Jᵀu as a function of u, from which Jv follows by differentiating in u.

    Twice backward and not once forward, because SiLU and attention have no forward-mode derivative everywhere.
    """

    outputs: Tensor
    cotangent: Tensor
    pulled_back: tuple[Tensor, ...]


class GaussNewtonOperator(TermwiseOperator[_Linearised]):
    r"""The Gauss-Newton matrix of Σ losses / Σ tokens; positive semi-definite where losses are convex in the outputs.

    $$G = \frac1n \sum_t J_t^\top \left( \nabla_z^2 \ell_t \right) J_t$$

    It is the Hessian without the outputs' own curvature, hence equal to it where the outputs are linear in the
    parameters. For the cross-entropy, ∇²ℓ is diag(p) - ppᵀ with the softmax p, and G the Fisher matrix.
    """

    def _graph(self, term: LossTerm) -> _Linearised:
        with twice_differentiable():
            outputs = term.outputs()
            cotangent = torch.zeros_like(outputs, requires_grad=True)
            pulled_back = torch.autograd.grad(
                outputs, tuple(self._parameters.values()), cotangent, create_graph=True, materialize_grads=True
            )
        return _Linearised(outputs, cotangent, pulled_back)

    def _multiply(self, term: LossTerm, graph: _Linearised, pieces: tuple[Tensor, ...]) -> Sequence[Tensor]:
        (tangent,) = torch.autograd.grad(
            graph.pulled_back, graph.cotangent, pieces, retain_graph=True, materialize_grads=True
        )
        return torch.autograd.grad(
            graph.outputs,
            tuple(self._parameters.values()),
            _output_curvature(term, graph.outputs, tangent),
            retain_graph=True,
            materialize_grads=True,
        )


def _output_curvature(term: LossTerm, outputs: Tensor, tangent: Tensor) -> Tensor:
    """∇²ℓ times ``tangent`` [tokens, outputs]."""
    fixed = outputs.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(term.losses(fixed).sum(), fixed, create_graph=True)
    (product,) = torch.autograd.grad(gradient, fixed, tangent)
    return product
