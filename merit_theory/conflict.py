"""Conflict between tasks: how far their mean gradients point apart at the start, and how well that is known.

Three matrices describe the same gradients and are never to be confused: the Gram matrix of inner products, the cosine
matrix of the same gradients at unit length, and their centred forms. Gradients enter as sketches (random projections
to k numbers that keep inner products); results are float64.

The gradients are estimates. Their sampling noise is independent between tasks, so it adds to norms and not to inner
products, and shrinks every cosine towards zero ("attenuation"). Keeping the gradient of each micro-batch tells the size
of that noise, and with it each task's reliability, a corrected cosine and a standard error, in one pass over the data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Centre = Literal["none", "rows", "double"]

# One product per few tasks: on a shared machine, starting the BLAS threads costs more than a product for one task.
TASKS_PER_PRODUCT = 8


def gram_matrix(sketches: ArrayLike) -> NDArray[np.float64]:
    """Inner products of task gradients.

    Args:
        sketches: float [n_tasks, k], one gradient sketch per task.

    Returns:
        float64 [n_tasks, n_tasks].

    >>> gram_matrix([[3.0, 4.0], [0.0, 2.0]]).tolist()
    [[25.0, 8.0], [8.0, 4.0]]
    """
    rows = np.asarray(sketches, dtype=np.float64)
    if rows.ndim != 2:
        raise ValueError(f"sketches have shape {rows.shape}; expected [n_tasks, k]")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ValueError(f"the sketch of task {np.argmin(finite)} has non-finite entries")
    return rows @ rows.T


def cosine_from_gram(gram: ArrayLike) -> NDArray[np.float64]:
    """Cosine matrix of the gradients behind a Gram matrix, C = D⁻¹ K₀ D⁻¹ with D = diag‖gᵢ‖ (lemma L1).

    Args:
        gram: float [n_tasks, n_tasks], positive diagonal.

    Returns:
        float64 [n_tasks, n_tasks] in [-1, 1] with unit diagonal.

    >>> cosine_from_gram([[25.0, 8.0], [8.0, 4.0]]).tolist()
    [[1.0, 0.8], [0.8, 1.0]]
    """
    products = as_symmetric(gram)
    squared_norms = np.diagonal(products)
    if not (squared_norms > 0).all():
        raise ValueError(f"task {np.argmin(squared_norms > 0)} has a zero gradient and so no direction")
    norms = np.sqrt(squared_norms)
    cosine = np.clip(products / np.outer(norms, norms), -1.0, 1.0)
    np.fill_diagonal(cosine, 1.0)
    return cosine


def cosine_similarity(sketches: ArrayLike) -> NDArray[np.float64]:
    """Cosine matrix of task gradients.

    Args:
        sketches: float [n_tasks, k], one gradient sketch per task, none of them zero.

    Returns:
        float64 [n_tasks, n_tasks] in [-1, 1] with unit diagonal.

    >>> cosine_similarity([[3.0, 4.0], [0.0, 2.0]]).tolist()
    [[1.0, 0.8], [0.8, 1.0]]
    """
    return cosine_from_gram(gram_matrix(sketches))


def as_symmetric(matrix: ArrayLike) -> NDArray[np.float64]:
    """The matrix in float64, symmetric to the last bit; refused if it is not square, finite and symmetric to rounding.

    A measured product such as δᵢᵀHδⱼ in float32 can be asymmetric beyond rounding. Whoever measured it symmetrises it,
    because the asymmetry is an error estimate that should be reported and not swallowed here.

    Args:
        matrix: float [n, n].

    Returns:
        float64 [n, n].

    >>> as_symmetric([[1, 2], [2, 1]]).tolist()
    [[1.0, 2.0], [2.0, 1.0]]
    """
    square = np.asarray(matrix, dtype=np.float64)
    if square.ndim != 2 or square.shape[0] != square.shape[1] or square.size == 0:
        raise ValueError(f"matrix has shape {square.shape}; expected [n, n] with n ≥ 1")
    if not np.isfinite(square).all():
        row, column = np.argwhere(~np.isfinite(square))[0]
        raise ValueError(f"matrix has a non-finite entry at ({row}, {column})")
    skew = np.abs(square - square.T)
    if skew.max() > 1e-6 * np.abs(square).max():
        row, column = np.unravel_index(np.argmax(skew), skew.shape)
        raise ValueError(f"matrix is not symmetric: entries ({row}, {column}) and ({column}, {row}) differ")
    return (square + square.T) / 2


def centred(matrix: ArrayLike, centre: Centre) -> NDArray[np.float64]:
    """A symmetric matrix with its mean taken out in one of three ways.

    ``none`` leaves M as it is; ``rows`` gives PM, every column's mean removed, which is what scikit-learn's PCA does to
    the rows of the matrix; ``double`` gives PMP with P = I - 11ᵀ/n, the Gram matrix of the mean-free gradients. Only
    ``double`` is blind to a gradient that all tasks share; under ``rows`` it magnifies the differences along itself.

    Args:
        matrix: float [n, n], symmetric.
        centre: which mean to remove.

    Returns:
        float64 [n, n].

    >>> centred([[1.0, 0.0], [0.0, 0.0]], "rows").tolist()
    [[0.5, 0.0], [-0.5, 0.0]]
    >>> centred([[1.0, 0.0], [0.0, 0.0]], "double").tolist()
    [[0.25, -0.25], [-0.25, 0.25]]
    """
    if centre not in get_args(Centre):
        raise ValueError(f"centre is {centre!r}; expected one of {', '.join(get_args(Centre))}")
    square = as_symmetric(matrix)
    if centre == "none":
        return square
    column_centred = square - square.mean(axis=0)
    if centre == "rows":
        return column_centred
    return column_centred - column_centred.mean(axis=1, keepdims=True)


@dataclass(frozen=True, slots=True, eq=False)
class PrincipalAxes:
    """Tasks laid out along the leading axes of a matrix between them.

    Attributes:
        coordinates: float64 [n_tasks, r], the place of every task along each axis.
        eigenvalues: float64 [r], descending: of the matrix itself (``none``), of PMP (``double``), or of the sample
            covariance of the matrix's rows (``rows``). Negative ones belong to an indefinite matrix.
        centre: the centring used.
    """

    coordinates: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]
    centre: Centre


def principal_axes(matrix: ArrayLike, n_axes: int, *, centre: Centre) -> PrincipalAxes:
    """Leading principal axes of a symmetric matrix between tasks.

    ``none`` and ``double``: the eigenvectors v of the (centred) matrix with the algebraically largest eigenvalues μ,
    scaled to v√μ: the inner products of these coordinates are the closest to the matrix that r axes can give (classical
    scaling). ``rows``: the matrix is a table of n features, and the coordinates are scikit-learn's PCA scores of its
    rows; on a positive semi-definite, double-centred matrix the same directions with scale μ in place of √μ.

    A corrected cosine matrix can be indefinite. No real gradients differ along an eigenvector with negative eigenvalue,
    so under ``none`` and ``double`` it never leads, however large in size. An axis whose eigenvalue is not positive
    beyond rounding has zero coordinates: nothing along it tells tasks apart.

    The largest-magnitude coordinate of each axis is positive; where several are equally large to nine digits the first
    of them is, so the orientation does not hang on rounding.

    Args:
        matrix: float [n_tasks, n_tasks], symmetric, n_tasks ≥ 2.
        n_axes: number of axes r, 1 ≤ r ≤ n_tasks.
        centre: which mean to remove first.

    Returns:
        The axes in descending order of eigenvalue.

    >>> axes = principal_axes([[4.0, -4.0], [-4.0, 4.0]], 1, centre="double")
    >>> axes.coordinates.round(12).tolist(), axes.eigenvalues.round(12).tolist()
    ([[2.0], [-2.0]], [8.0])
    """
    freed = centred(matrix, centre)
    n_tasks = len(freed)
    if n_tasks < 2 or not 1 <= n_axes <= n_tasks:
        raise ValueError(f"{n_axes} axes asked of {n_tasks} tasks; expected 1 ≤ axes ≤ tasks and at least 2 tasks")
    rounding = n_tasks * np.finfo(np.float64).eps * np.linalg.norm(np.asarray(matrix, dtype=np.float64))
    if centre == "rows":
        directions, scales, _ = np.linalg.svd(freed)
        lengths = np.where(scales > rounding, scales, 0.0)
        eigenvalues = scales**2 / (n_tasks - 1)
    else:
        ascending, vectors = np.linalg.eigh(freed)
        eigenvalues, directions = ascending[::-1], vectors[:, ::-1]
        lengths = np.sqrt(np.where(eigenvalues > rounding, eigenvalues, 0.0))
    coordinates = directions[:, :n_axes] * lengths[:n_axes]
    return PrincipalAxes(_oriented(coordinates), eigenvalues[:n_axes], centre)


def _oriented(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns flipped so that the first of their largest-magnitude entries is positive; [n, r] to [n, r]."""
    sizes = np.abs(coordinates)
    leading = np.argmax(sizes >= (1 - 1e-9) * sizes.max(axis=0), axis=0)
    leaders = np.take_along_axis(coordinates, leading[None, :], axis=0)
    return np.where(leaders < 0, -coordinates, coordinates)


def subspace_distance(first: ArrayLike, second: ArrayLike) -> float:
    """Largest sine of the principal angles between the spans of two coordinate sets: 0 if equal, 1 at right angles.

    Args:
        first: float [n_tasks, r] of rank r.
        second: float [n_tasks, r] of rank r.

    Returns:
        sin Θ in [0, 1], accurate for small angles too.

    >>> round(subspace_distance([[1.0], [0.0]], [[3.0], [4.0]]), 12)
    0.8
    """
    one, other = (np.asarray(coordinates, dtype=np.float64) for coordinates in (first, second))
    if one.ndim != 2 or one.shape != other.shape:
        raise ValueError(f"coordinates have shapes {one.shape} and {other.shape}; expected the same [n_tasks, r]")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise ValueError("coordinates have non-finite entries")
    ranks = [int(np.linalg.matrix_rank(coordinates)) for coordinates in (one, other)]
    if min(ranks) < one.shape[1]:
        raise ValueError(f"coordinates have ranks {ranks[0]} and {ranks[1]}; both must span {one.shape[1]} axes")
    basis, target = np.linalg.qr(one).Q, np.linalg.qr(other).Q
    return min(float(np.linalg.norm(target - basis @ (basis.T @ target), ord=2)), 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class ConflictEstimate:
    """Cosines between task gradients with what is known about their errors; micro-batches are the unit of sampling.

    Attributes:
        gram: float64 [n_tasks, n_tasks], inner products of the mean gradients per answer token.
        cosine: float64 [n_tasks, n_tasks], as measured, shrunk towards zero by sampling noise.
        corrected: float64 [n_tasks, n_tasks], corrected for that shrinkage and clipped to [-1, 1]; it may be
            indefinite. Entries of a task without measurable signal stay as measured.
        standard_error: float64 [n_tasks, n_tasks], of ``cosine``; zero on the diagonal.
        reliability: float64 [n_tasks], the share of a mean gradient's squared norm that is signal: the cosine to expect
            between two such estimates of the same task. Zero marks a task without measurable signal.
        norms: float64 [n_tasks], of the mean gradients per answer token.
        micro_batches: int64 [n_tasks], how many each task was measured on.
    """

    gram: NDArray[np.float64]
    cosine: NDArray[np.float64]
    corrected: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    reliability: NDArray[np.float64]
    norms: NDArray[np.float64]
    micro_batches: NDArray[np.int64]

    @property
    def unreliable(self) -> tuple[int, ...]:
        """Tasks without measurable signal: the noise estimate alone explains the norm of their gradient."""
        return tuple(np.flatnonzero(self.reliability == 0).tolist())

    @property
    def task_standard_error(self) -> NDArray[np.float64]:
        """Root mean square standard error of each task's cosines with the other tasks; float64 [n_tasks]."""
        others = len(self.standard_error) - 1
        return np.sqrt((self.standard_error**2).sum(axis=1) / others)

    def micro_batches_for(self, reliability: float = 0.95) -> NDArray[np.float64]:
        """Micro-batches that would give each task this reliability (Spearman-Brown).

        With noise going down as one over the number of micro-batches, r(m) = m / (m + m₀) and m₀ = m (1 - r) / r.

        Args:
            reliability: the wanted share of signal, strictly between 0 and 1.

        Returns:
            float64 [n_tasks], fractional; infinite for a task without measurable signal.
        """
        if not 0 < reliability < 1:
            raise ValueError(f"reliability is {reliability}; expected a number strictly between 0 and 1")
        odds = reliability / (1 - reliability)
        needed = np.full(self.reliability.shape, np.inf)
        noise_share = 1 - self.reliability
        np.divide(self.micro_batches * noise_share * odds, self.reliability, out=needed, where=self.reliability > 0)
        return needed


def check_micro_batches(sums: Sequence[NDArray[np.floating]], counts: Sequence[ArrayLike]) -> None:
    """Refuse micro-batch gradients that no estimate can be made of, and name the first task to blame.

    Args:
        sums: per task float [m, k], gradient sketch sums of its micro-batches.
        counts: per task [m], answer tokens of its micro-batches.

    >>> check_micro_batches(np.ones((2, 3, 4)), [[5, 6, 7], [5, 0, 7]])
    Traceback (most recent call last):
    ...
    ValueError: task 1 has a micro-batch without answer tokens; counts must be positive and finite
    """
    if len(sums) != len(counts) or len(sums) < 2:
        raise ValueError(f"sums of {len(sums)} tasks and counts of {len(counts)}; expected as many of both, at least 2")
    width = np.shape(sums[0])[-1]
    for task, (task_sums, task_counts) in enumerate(zip(sums, counts, strict=True)):
        shape, tokens = np.shape(task_sums), np.asarray(task_counts, dtype=np.float64)
        if shape != (len(tokens), width):
            raise ValueError(f"task {task} has sums of shape {shape}; expected [{len(tokens)}, {width}], one per count")
        if len(tokens) < 2:
            raise ValueError(f"task {task} has {len(tokens)} micro-batch; noise shows from 2 on")
        if not np.isfinite(task_sums).all():
            raise ValueError(f"task {task} has non-finite gradient sums")
        if not (np.isfinite(tokens) & (tokens > 0)).all():
            raise ValueError(f"task {task} has a micro-batch without answer tokens; counts must be positive and finite")


def estimate_conflicts(sums: Sequence[NDArray[np.floating]], counts: Sequence[ArrayLike]) -> ConflictEstimate:
    r"""Conflicts between tasks from the gradient sums of their micro-batches.

    Task gradient: the ratio $g = \sum_m S_m / \sum_m n_m$. Its noise by linearising that ratio, its signal by
    subtraction, and the corrected cosine by dividing inner products by signal instead of norm:

    $$\nu = \frac{m}{m-1} \frac{\sum_m \|S_m - n_m g\|^2}{(\sum_m n_m)^2},\quad \sigma^2 = \|g\|^2 - \nu,\quad
      C_{ij} = \frac{\langle g_i, g_j \rangle}{\sigma_i \sigma_j}$$

    The noise estimate is unbiased for equal counts. For independent tokens and counts with coefficient of variation c,
    it is low by the share c²/(m - 1).

    Standard errors by the delete-one jackknife over the micro-batches of either task, their variances added. Where
    noise outweighs signal this counts the product of both noises twice, and so errs on the wide side.

    No matrix larger than [n_tasks, k] is formed: time is O(Σm · n_tasks · k), memory one float64 copy of the means.

    Args:
        sums: per task float [m, k], the gradient sketch summed over the answer tokens of each micro-batch, m ≥ 2. Tasks
            may differ in m. An array [n_tasks, m, k] will do.
        counts: per task [m], the answer tokens of each micro-batch, positive.

    Returns:
        The estimate.

    >>> east = [[4.0, 0.0], [4.0, 0.0]]
    >>> up_and_down = [[3.0, 1.0], [3.0, -1.0]]
    >>> estimate = estimate_conflicts([np.array(east), np.array(up_and_down)], [[2, 2], [1, 1]])
    >>> estimate.gram.tolist(), estimate.reliability.round(12).tolist()
    ([[4.0, 6.0], [6.0, 9.0]], [1.0, 0.888888888889])
    >>> estimate.micro_batches_for(0.95).round(12).tolist()
    [0.0, 4.75]
    """
    check_micro_batches(sums, counts)
    means = np.empty((len(sums), sums[0].shape[1]))
    noise = np.empty(len(sums))
    for task, (task_sums, task_counts) in enumerate(zip(sums, counts, strict=True)):
        batches = np.asarray(task_sums, dtype=np.float64)
        tokens = np.asarray(task_counts, dtype=np.float64)
        means[task] = batches.sum(axis=0) / tokens.sum()
        residuals = batches - tokens[:, None] * means[task]
        unbias = len(tokens) / (len(tokens) - 1)
        noise[task] = unbias * np.vdot(residuals, residuals) / tokens.sum() ** 2

    gram = gram_matrix(means)
    cosine = cosine_from_gram(gram)
    squared_norms = np.diagonal(gram)
    norms = np.sqrt(squared_norms)
    reliability = np.clip((squared_norms - noise) / squared_norms, 0.0, 1.0)

    units = np.divide(means, norms[:, None], out=means)
    variance = _jackknife_variance(sums, units)
    standard_error = np.sqrt(variance + variance.T)
    np.fill_diagonal(standard_error, 0.0)

    return ConflictEstimate(
        gram=gram,
        cosine=cosine,
        corrected=_corrected_for_attenuation(cosine, reliability),
        standard_error=standard_error,
        reliability=reliability,
        norms=norms,
        micro_batches=np.array([len(task_sums) for task_sums in sums], dtype=np.int64),
    )


def _jackknife_variance(sums: Sequence[NDArray[np.floating]], units: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance [n_tasks, n_tasks] of each task's cosines with the unit gradients [n_tasks, k], which are held fixed."""
    variance = np.empty((len(sums), len(sums)))
    for start in range(0, len(sums), TASKS_PER_PRODUCT):
        deleted = [_deleted_one(task_sums) for task_sums in sums[start : start + TASKS_PER_PRODUCT]]
        ends = np.cumsum([len(directions) for directions in deleted])
        cosines = np.concatenate(deleted) @ units.T
        for task, task_cosines in enumerate(np.split(cosines, ends[:-1]), start):
            variance[task] = (len(task_cosines) - 1) * task_cosines.var(axis=0)
    return variance


def _deleted_one(sums: NDArray[np.floating]) -> NDArray[np.float64]:
    """Unit gradients [m, k] of one task without each of its micro-batches [m, k] in turn.

    Token counts are not needed: they scale a gradient, not its direction. A gradient that is exactly zero has no
    direction and stays zero, so that its cosines count as zero.
    """
    batches = np.asarray(sums, dtype=np.float64)
    deleted = batches.sum(axis=0) - batches
    norms = np.linalg.norm(deleted, axis=1, keepdims=True)
    return deleted / np.where(norms > 0, norms, 1.0)


def _corrected_for_attenuation(cosine: NDArray[np.float64], reliability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines [n, n] divided by the root of both reliabilities [n], where both are positive; clipped to [-1, 1]."""
    measurable = np.outer(reliability > 0, reliability > 0)
    attenuation = np.where(measurable, np.sqrt(np.outer(reliability, reliability)), 1.0)
    return np.clip(cosine / attenuation, -1.0, 1.0)
