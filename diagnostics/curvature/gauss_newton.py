"""Generalised Gauss-Newton products: the curvature that the loss has in the model's outputs, and no more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter

from diagnostics.curvature.kept_graphs import KeptGraphs
from diagnostics.curvature.loss_terms import LossTerm, token_count, twice_differentiable
from diagnostics.curvature.parameters import VectorLayout


@dataclass(frozen=True, slots=True)
class _Linearised:
    """A micro-batch's outputs, and Jᵀu as a function of u, from which Jv follows by differentiating in u.

    Twice backward and not once forward, because SiLU and attention have no forward-mode derivative everywhere.
    """

    outputs: Tensor
    cotangent: Tensor
    pulled_back: tuple[Tensor, ...]


class GaussNewtonOperator:
    r"""The Gauss-Newton matrix of Σ losses / Σ tokens; positive semi-definite where losses are convex in the outputs.

    $$G = \frac1n \sum_t J_t^\top \left( \nabla_z^2 \ell_t \right) J_t$$

    It is the Hessian without the outputs' own curvature, hence equal to it where the outputs are linear in the
    parameters. For the cross-entropy, ∇²ℓ is diag(p) - ppᵀ with the softmax p, and G the Fisher matrix.
    """

    def __init__(self, parameters: Mapping[str, Parameter], terms: Sequence[LossTerm], *, graph_bytes: int) -> None:
        """Make the operator at the present values of ``parameters``; arguments and errors as for the Hessian's."""
        self._parameters = dict(parameters)
        self._layout = VectorLayout.of(parameters)
        self.dimension = self._layout.dimension
        self.device = self._layout.device
        self.dtype = self._layout.dtype
        self._terms = terms
        self._tokens = token_count(terms)
        self.graphs: KeptGraphs[_Linearised] = KeptGraphs(self._parameters, graph_bytes)

    def product(self, vector: Tensor) -> Tensor:
        """The Gauss-Newton matrix times ``vector`` [dimension], in nats per answer token.

        Raises:
            ValueError: a vector of another length, dtype or device, or parameters changed since.
        """
        pieces = tuple(self._layout.unflatten(vector).values())
        total = torch.zeros_like(vector)
        for number, term in enumerate(self._terms):
            linearised = self.graphs.get(number, lambda term=term: self._linearised(term))
            (tangent,) = torch.autograd.grad(
                linearised.pulled_back, linearised.cotangent, pieces, retain_graph=True, materialize_grads=True
            )
            products = torch.autograd.grad(
                linearised.outputs,
                tuple(self._parameters.values()),
                _output_curvature(term, linearised.outputs, tangent),
                retain_graph=True,
                materialize_grads=True,
            )
            total += self._layout.flatten(dict(zip(self._parameters, products, strict=True)))
        return total.div_(self._tokens)

    def _linearised(self, term: LossTerm) -> _Linearised:
        with twice_differentiable():
            outputs = term.outputs()
            cotangent = torch.zeros_like(outputs, requires_grad=True)
            pulled_back = torch.autograd.grad(
                outputs, tuple(self._parameters.values()), cotangent, create_graph=True, materialize_grads=True
            )
        return _Linearised(outputs, cotangent, pulled_back)


def _output_curvature(term: LossTerm, outputs: Tensor, tangent: Tensor) -> Tensor:
    """∇²ℓ times ``tangent`` [tokens, outputs]."""
    fixed = outputs.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(term.losses(fixed).sum(), fixed, create_graph=True)
    (product,) = torch.autograd.grad(gradient, fixed, tangent)
    return product
