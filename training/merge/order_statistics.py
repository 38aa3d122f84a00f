"""Exact order statistics over whole models, from a few passes and no more memory than some counters."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.merge.inputs import Elements, MergeInputs

DIGIT_BITS = 16

Scores = Callable[[Elements], NDArray[Any]]
"""From a chunk to values [K, n] whose magnitudes are ranked, one row per branch; they may lie in the chunk's memory."""


def thresholds(inputs: MergeInputs, scores: Scores, density: float) -> NDArray[Any]:
    r"""The magnitude $t_k$ [K] from which on a share ``density`` of each branch's scores lies.

    Of $n$ scores per branch, $t_k$ is the $(n - \lfloor\rho n\rfloor)$-th smallest magnitude, as in the official code
    of TIES; keeping all scores of magnitude $\ge t_k$ keeps one more than $\lfloor\rho n\rfloor$, and all that equal
    $t_k$. All are kept at a density of one. $n$ counts every floating-point element of ``inputs``, frozen ones too.
    """
    count = sum(tensor.count for tensor in inputs.branches[0].values() if tensor.element.accumulator is not None)
    return kth_smallest(inputs, scores, count - int(density * count))


def kth_smallest(inputs: MergeInputs, scores: Scores, rank: int) -> NDArray[Any]:
    """The ``rank``-th smallest magnitude of each branch's scores [K], counted from one; zero for rank zero.

    Magnitudes of floating-point numbers are ordered as their bit patterns. The pattern is found digit by digit, leading
    digit first, by counting the digits of all scores that begin as it does: two passes in float32, four in float64.
    """
    accumulators = [tensor.element.accumulator for tensor in inputs.branches[0].values()]
    widest = np.result_type(np.float32, *[dtype for dtype in accumulators if dtype is not None])
    pattern = np.dtype(f"u{widest.itemsize}")
    found = np.zeros(len(inputs.branches), pattern)
    if rank == 0:
        return found.view(widest)
    missing = np.full(len(inputs.branches), rank)  # rank among the scores that begin as what was found
    rest = 8 * pattern.itemsize - 1  # bits after the sign
    while rest:
        digit = min(DIGIT_BITS, rest)
        rest -= digit
        counts = _count_digits(inputs, scores, widest, found, digit, rest)
        for k, histogram in enumerate(counts):
            reached = np.cumsum(histogram)
            place = int(np.searchsorted(reached, missing[k]))
            missing[k] -= reached[place] - histogram[place]
            found[k] = (int(found[k]) << digit) | place
    return found.view(widest)


def _count_digits(
    inputs: MergeInputs, scores: Scores, widest: np.dtype[Any], found: NDArray[Any], digit: int, rest: int
) -> NDArray[np.intp]:
    """How often each digit stands before the last ``rest`` bits of scores that begin as ``found``: [K, 2^digit]."""
    counts = np.zeros((len(found), 1 << digit), np.intp)
    adding = threading.Lock()
    leading = 8 * widest.itemsize - 1 - digit - rest
    without_sign = (1 << (8 * widest.itemsize - 1)) - 1

    def count(elements: Elements) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # the merge that follows tells it
            values = scores(elements).astype(widest, copy=False)
        for k, row in enumerate(values.view(found.dtype)):
            row &= without_sign
            row >>= rest
            if leading:
                row = row[(row >> digit) == found[k]] & ((1 << digit) - 1)
            histogram = np.bincount(row.astype(np.intp), minlength=1 << digit)
            with adding:
                counts[k] += histogram

    for _ in inputs.over_chunks(count):
        pass
    return counts
