"""How well the mean gradient of a few calibration examples points along the task's own: the curve over their number.

A part of the micro-batches is compared with the rest of them, which shares no example with it. The rest is an estimate
too, and its noise lowers the cosine; dividing by the length of the signal instead of the rest's takes that out, as the
correction of conflicts does (:mod:`merit_theory.conflict`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SizeCurve:
    """One task's cosines over the number of micro-batches, from 1 to all but one.

    Attributes:
        with_rest: float64 [m - 1], mean cosine with the mean gradient of the other micro-batches.
        with_signal: float64 [m - 1], the same with the gradient of infinitely many examples, estimated; it may exceed
            one by chance, and is NaN where the noise estimate alone explains the gradient.
        reliability: share of the mean gradient's squared norm that is signal, at least zero.
    """

    with_rest: Floats
    with_signal: Floats
    reliability: float


def size_curve(gram: Floats, tokens: Floats, orders: NDArray[np.int64]) -> SizeCurve:
    """The curve of one task.

    Args:
        gram: float64 [m, m], inner products of the micro-batches' gradient sums.
        tokens: float64 [m], their answer tokens.
        orders: int [draws, m], permutations; the first n of each are one part of size n.
    """
    count = len(tokens)
    inverse = np.argsort(orders, axis=1)
    rest, along = [], []
    for size in range(1, count):
        part = (inverse < size).astype(np.float64)
        other = 1 - part
        dots = np.einsum("di,ij,dj->d", part, gram, other) / ((part @ tokens) * (other @ tokens))
        own, others = (np.sqrt(np.einsum("di,ij,dj->d", side, gram, side)) / (side @ tokens) for side in (part, other))
        rest.append(_ratio(dots, own * others).mean())
        along.append(_ratio(dots, own).mean())
    mean, residuals = _mean_and_noise(gram, tokens)
    signal = mean - residuals
    with_signal = np.array(along) / np.sqrt(signal) if signal > 0 else np.full(count - 1, np.nan)
    return SizeCurve(np.array(rest), with_signal, float(np.clip(signal / mean, 0, 1)) if mean > 0 else 0.0)


def expected_cosine(reliability: Floats, examples: Floats, size: float) -> Floats:
    """Cosine of the gradient of ``size`` examples with that of infinitely many (Spearman and Brown's law).

    Args:
        reliability: float64 [n_tasks], positive, at ``examples``.
        examples: float64 [n_tasks], that it was measured on.
        size: another number of examples.

    >>> expected_cosine(np.array([0.5]), np.array([20.0]), 20.0).round(6).tolist()
    [0.707107]
    """
    noise = examples * (1 - reliability) / reliability
    return np.sqrt(size / (size + noise))


def _mean_and_noise(gram: Floats, tokens: Floats) -> tuple[float, float]:
    """Squared norm of the mean gradient per answer token, and the sampling noise in it."""
    total, count = tokens.sum(), len(tokens)
    square = gram.sum() / total**2
    residuals = np.diagonal(gram) - 2 * tokens * gram.sum(axis=1) / total + tokens**2 * square
    return float(square), float(count / (count - 1) * residuals.sum() / total**2)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Their quotient; zero where a gradient is exactly zero and has no direction."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
