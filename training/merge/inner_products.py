"""Inner products of whole tensors, summed chunk by chunk."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.merge.inputs import Elements, MergeInputs


def gram_matrix(inputs: MergeInputs, vectors: Callable[[Elements], NDArray[Any]]) -> NDArray[np.float64]:
    """Inner products [K, K] of the branches' vectors, each all tensors of ``inputs`` put one after the other.

    Args:
        inputs: the models; :meth:`MergeInputs.only` picks one tensor.
        vectors: from a chunk to that part of the vectors, [K, n].

    Returns:
        The Gram matrix; products and sums are in float64, in the order of chunks.
    """

    def gram(elements: Elements) -> NDArray[np.float64]:
        rows = vectors(elements).astype(np.float64)
        products = np.empty((len(rows), len(rows)))
        for i, row in enumerate(rows):
            for j, other in enumerate(rows[: i + 1]):
                products[i, j] = products[j, i] = np.einsum("n,n->", row, other)
        return products

    return sum(inputs.over_chunks(gram), np.zeros((len(inputs.branches), len(inputs.branches))))


def cosine(gram: NDArray[np.float64], i: int, j: int) -> float:
    """Cosine of the angle between vectors ``i`` and ``j``; zero where one of them is zero.

    >>> cosine(np.array([[4.0, 3.0], [3.0, 9.0]]), 0, 1)
    0.5
    """
    norms = float(np.sqrt(gram[i, i]) * np.sqrt(gram[j, j]))
    return float(np.clip(gram[i, j] / norms, -1, 1)) if norms else 0.0
