"""What all second derivatives of the one loss share: parameters as one vector, and a sum over micro-batches."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Generic

import torch
from torch import Tensor
from torch.nn import Parameter

from diagnostics.curvature.kept_graphs import KeptGraphs, T
from diagnostics.curvature.loss_terms import LossTerm, token_count
from diagnostics.curvature.parameters import VectorLayout


class LossOperator(ABC):
    """A symmetric matrix made of Σ losses / Σ tokens at the present values of ``parameters``."""

    def __init__(self, parameters: Mapping[str, Parameter], terms: Sequence[LossTerm]) -> None:
        """Make the operator.

        Args:
            parameters: what is differentiated, by name; all other parameters are constants.
            terms: the micro-batches.

        Raises:
            InputError: the loss is not finite or not deterministic.
        """
        self._parameters = dict(parameters)
        self._layout = VectorLayout.of(parameters)
        self.dimension = self._layout.dimension
        self.device = self._layout.device
        self.dtype = self._layout.dtype
        self._terms = terms
        self.tokens = token_count(terms)

    @abstractmethod
    def product(self, vector: Tensor) -> Tensor:
        """The matrix times ``vector`` [dimension], in nats per answer token."""


class TermwiseOperator(LossOperator, Generic[T]):
    """A loss operator whose products are sums over micro-batches, each through a graph that may be kept."""

    def __init__(self, parameters: Mapping[str, Parameter], terms: Sequence[LossTerm], *, graph_bytes: int) -> None:
        """Make the operator.

        Args:
            parameters: as for every loss operator.
            terms: the micro-batches.
            graph_bytes: memory for graphs that stay between products, filled in the order of ``terms``; 0 builds every
                graph anew, which costs up to 1.7 times as much per product.

        Raises:
            InputError: the loss is not finite or not deterministic.
        """
        super().__init__(parameters, terms)
        self.graphs: KeptGraphs[T] = KeptGraphs(self._parameters, graph_bytes)

    def product(self, vector: Tensor) -> Tensor:
        """The matrix times ``vector`` [dimension], in nats per answer token.

        Raises:
            ValueError: a vector of another length, dtype or device, or parameters changed since.
        """
        pieces = tuple(self._layout.unflatten(vector).values())
        total = torch.empty_like(vector)
        parts = tuple(self._layout.unflatten(total).values())
        for number, term in enumerate(self._terms):
            # Straight into the result: one more pass over a vector of a model's size is a few per cent of a product.
            for part, product in zip(parts, self._products(number, term, pieces), strict=True):
                if number == 0:
                    torch.div(product, self.tokens, out=part)
                else:
                    part.add_(product, alpha=1 / self.tokens)
        return total

    def _products(self, number: int, term: LossTerm, pieces: tuple[Tensor, ...]) -> Sequence[Tensor]:
        """A micro-batch's part, summed over its tokens; a graph that is not kept ends with this call."""
        graph = self.graphs.get(number, lambda: self._graph(term))
        return self._multiply(term, graph, pieces)

    @abstractmethod
    def _graph(self, term: LossTerm) -> T:
        """What of a micro-batch does not depend on the vector, with the graph that multiplying goes through."""

    @abstractmethod
    def _multiply(self, term: LossTerm, graph: T, pieces: tuple[Tensor, ...]) -> Sequence[Tensor]:
        """A micro-batch's part of the product, like the parameters."""
