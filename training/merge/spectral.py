"""What the spectral merge operators share: they work on matrices, and everything else takes the mean."""

from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from training.merge.inputs import Elements, MergeInputs
from training.merge.operator import Operator, Plan, Rule, weighted_sum

EMBEDDINGS = ("embed", "wte", "wpe", "lm_head")
"""Parts of the names by which embeddings and output heads are known."""


class SpectralOperator(Operator):
    """An operator on the displacements of whole matrices; tensors that are none take the branches' weighted mean.

    The merged displacement of either kind is scaled. Matrices are decomposed in the accumulator dtype, a few at a time.

    Attributes:
        scale: α in θ⁰ + αM.
        embeddings: whether embeddings and the output head are matrices like any other, as in the published code, or
            take the mean.
    """

    takes_weights: ClassVar[bool] = True

    scale: float = 1.0
    embeddings: Literal["matrix", "mean"] = "matrix"

    @abstractmethod
    def merged(self, displacements: NDArray[Any], weights: tuple[float, ...]) -> NDArray[Any]:
        """The merged displacement [m, n] of ``displacements`` [K, m, n]; zero where all of them are."""

    def plan(self, inputs: MergeInputs) -> Plan:
        """Matrices as wholes, other tensors element by element."""
        # Matrices run beside each other already, and threads within would compete with them and change the rounding.
        inputs.opened.enter_context(threadpool_limits(1, "blas"))

        def merge_matrix(elements: Elements) -> NDArray[Any]:
            start, displacements = elements.displacements()
            merged = self.merged(displacements, inputs.weights)
            merged *= self.scale
            return np.add(start, merged, out=start)

        def average(elements: Elements) -> NDArray[Any]:
            start, displacements = elements.displacements()
            factors = tuple(self.scale * weight for weight in inputs.weights)
            return np.add(start, weighted_sum(displacements, factors), out=start)

        matrix, mean = Rule(merge_matrix, whole=True), Rule(average)

        def rule(name: str, shape: tuple[int, ...]) -> Rule:
            is_embedding = any(part in name for part in EMBEDDINGS)
            is_matrix = len(shape) == 2 and min(shape) > 0 and not (is_embedding and self.embeddings == "mean")
            return matrix if is_matrix else mean

        return lambda tensor: rule(tensor.name, tensor.shape)
