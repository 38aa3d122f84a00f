"""Singular value decompositions as the spectral merge operators use them: of what is there, and of nothing else."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Factors = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""Left vectors [m, r], singular values [r] in descending order, right vectors as rows [r, n]."""

LEAST_FOR_GRAM = 128
"""Smaller side from which on matrices are decomposed through their Gram matrix, where it pays."""
BLOCK = 4096
"""Rows that are widened at a time."""
ZERO = 16
"""Times the precision of a matrix: singular values below this share of the largest are rounding, not directions."""


def singular_factors(matrix: NDArray[Any], most: int | None = None) -> Factors:
    r"""Singular value decomposition of ``matrix`` [m, n], without directions whose value is zero to rounding.

    A matrix of rank r has r factors, zero none: where a branch left a matrix alone, it has no directions to merge, and
    those a decomposition would fill up with are arbitrary.

    Large matrices in single precision are decomposed through the eigenvectors of $A^\top A$ (or $A A^\top$, if that is
    smaller) in double precision, some three times as fast for layers of language models. Squaring loses half the
    digits, and double precision has twice those of single: values and vectors are accurate to single precision but for
    those near the smallest that are kept, whose left vectors are orthogonal to within a hundredth.

    Args:
        matrix: to decompose.
        most: the most directions that are wanted; the strongest are given.

    >>> singular_factors(np.diag([3.0, 0.0, 2.0]))[1].tolist()
    [3.0, 2.0]
    """
    size = min(matrix.shape)
    if matrix.dtype == np.float32 and size >= LEAST_FOR_GRAM:
        if matrix.shape[0] < matrix.shape[1]:
            right, values, left = _through_gram(matrix.T, most)
            return left.T, values, right.T
        return _through_gram(matrix, most)
    wide = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    left, values, right = (part.astype(matrix.dtype) for part in wide)
    rank = min(_rank(values, matrix.dtype), size if most is None else most)
    return left[:, :rank], values[:rank], right[:rank]


def _through_gram(matrix: NDArray[Any], most: int | None) -> Factors:
    """The factors of a ``matrix`` with no fewer rows than columns."""
    size = matrix.shape[1]
    gram = np.zeros((size, size))
    for begin in range(0, len(matrix), BLOCK):
        rows = matrix[begin : begin + BLOCK].astype(np.float64)
        gram += rows.T @ rows
    squares, vectors = np.linalg.eigh(gram)
    values = np.sqrt(np.maximum(squares[::-1], 0))
    rank = min(_rank(values, matrix.dtype), size if most is None else most)
    values, right = values[:rank], vectors[:, ::-1][:, :rank]
    left = np.empty((len(matrix), rank), matrix.dtype)
    onto = right / values
    for begin in range(0, len(matrix), BLOCK):
        left[begin : begin + BLOCK] = matrix[begin : begin + BLOCK].astype(np.float64) @ onto
    return left, values.astype(matrix.dtype), np.ascontiguousarray(right.T, matrix.dtype)


def _rank(values: NDArray[Any], dtype: np.dtype[Any]) -> int:
    """How many of all singular ``values`` of a matrix of ``dtype`` are not zero to rounding."""
    return int((values > ZERO * np.finfo(dtype).eps * values.max(initial=0.0)).sum())


def polar_factor(columns: NDArray[Any]) -> NDArray[Any]:
    r"""The nearest matrix with orthonormal columns to ``columns`` [m, r]: $PQ^\top$ of $P \Lambda Q^\top$.

    Where columns depend on each other it is the partial isometry onto what they span.

    >>> polar_factor(np.array([[2.0, 0.0], [0.0, 0.5], [0.0, 0.0]])).tolist()
    [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """
    left, _, right = singular_factors(columns)
    return left @ right
