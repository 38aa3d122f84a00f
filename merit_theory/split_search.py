"""Every balanced split of up to some thirty tasks, or a million random ones of many, in memory for one chunk.

A split is named by its rank in the lexicographic order of `partition.balanced_splits`; a chunk of ranks becomes rows of
signs and the rows become values of sᵀMs, so nothing is kept but extremes, sums and a histogram. The gain of a split is
step²/(2N²) times its value (`split_gain`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Int8, Int64, Key
from numpy.typing import NDArray

from merit_theory.partition import Partition
from merit_theory.precision import as_float64
from merit_theory.split_gain import as_task_matrix, double_centred

CHUNK = 2**13
BINS = 2**16


def count_balanced_splits(n_tasks: int) -> int:
    """Number of divisions into two groups of equal size, C(N, N/2)/2.

    >>> [count_balanced_splits(n) for n in (4, 20, 26)]
    [3, 92378, 5200300]
    """
    if n_tasks < 2 or n_tasks % 2:
        raise ValueError(f"{n_tasks} tasks have no balanced split; expected an even number, at least 2")
    return math.comb(n_tasks, n_tasks // 2) // 2


@partial(jax.jit, static_argnames="n_tasks")
def balanced_signs(ranks: Int[Array, " m"], n_tasks: int) -> Int8[Array, "m n"]:
    """Signs of the balanced splits with these ranks, task 0 always at +1.

    Args:
        ranks: int64 [m], from 0 to below `count_balanced_splits`.
        n_tasks: even, at most 66, so that ranks fit 64 bits.

    >>> balanced_signs(jnp.arange(3), 4).tolist()
    [[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]
    """
    if not 0 < count_balanced_splits(n_tasks) < 2**63:
        raise ValueError(f"{n_tasks} tasks have more balanced splits than 64 bits can rank; draw random ones")
    half = n_tasks // 2
    # counts[i, c]: completions that put task i on the side of task 0 when c more tasks are to join it.
    counts = np.array(
        [[math.comb(n_tasks - 1 - task, c - 1) if c else 0 for c in range(half)] for task in range(1, n_tasks)]
    ).reshape(n_tasks - 1, half)

    def place(carry: tuple[Array, Array], completions: Int64[Array, " c"]) -> tuple[tuple[Array, Array], Array]:
        rank, missing = carry
        passed = completions[missing]
        joins = rank < passed
        return (jnp.where(joins, rank, rank - passed), missing - joins.astype(missing.dtype)), joins

    start = (ranks, jnp.full(ranks.shape, half - 1, dtype=jnp.int32))
    return _as_signs(jax.lax.scan(place, start, jnp.asarray(counts))[1])


@partial(jax.jit, static_argnames=("n_splits", "n_tasks"))
def random_balanced_signs(key: Key[Array, ""], n_splits: int, n_tasks: int) -> Int8[Array, "m n"]:
    """Signs of uniformly random balanced splits, task 0 always at +1.

    Each task in turn joins task 0 with probability (places left)/(tasks left), which makes all splits equally likely;
    the 32 random bits of a draw leave a relative bias below N/2³². Sorting random numbers would take ten times as long.

    Args:
        key: a JAX random key.
        n_splits: number m of splits.
        n_tasks: even, at least 2.

    >>> random_balanced_signs(jax.random.key(0), 5, 6).sum(axis=1).tolist()
    [0, 0, 0, 0, 0]
    """
    count_balanced_splits(n_tasks)
    bits = jax.random.bits(key, (n_tasks - 1, n_splits), dtype=jnp.uint32)
    tasks_left = jnp.arange(n_tasks - 1, 0, -1, dtype=jnp.uint64)

    def place(places: Array, draw: tuple[Array, Array]) -> tuple[Array, Bool[Array, " m"]]:
        random, left = draw
        joins = (random.astype(jnp.uint64) * left) >> jnp.uint64(32) < places
        return places - joins.astype(places.dtype), joins

    start = jnp.full((n_splits,), n_tasks // 2 - 1, dtype=jnp.uint64)
    return _as_signs(jax.lax.scan(place, start, (bits, tasks_left))[1])


def _as_signs(joins: Bool[Array, "n_but_one m"]) -> Int8[Array, "m n"]:
    """Rows of signs from which tasks, the first left out, are on the side of task 0."""
    with_first = jnp.concatenate([jnp.ones_like(joins[:1]), joins])
    return jnp.where(with_first, 1, -1).astype(jnp.int8).T


def signed_forms(matrix: Float[Array, "n n"], signs: Int8[Array, "m n"]) -> Float[Array, " m"]:
    """sᵀMs for every row of signs.

    Args:
        matrix: float64 [n, n], symmetric.
        signs: int8 [m, n], ±1.
    """
    rows = signs.astype(matrix.dtype)
    return ((rows @ matrix) * rows).sum(axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class SplitSurvey:
    """Values of sᵀMs over many balanced splits.

    Attributes:
        n_splits: how many were looked at.
        mean: of the values.
        largest: value of the best split found.
        best: the first split, in the order looked at, that has it.
        smallest: value of the worst split found.
        worst: the first split that has it.
        edges: float64 [bins + 1], from a bound below all values to one above, given by the eigenvalues of PMP.
        counts: int64 [bins], splits with a value between two edges.
    """

    n_splits: int
    mean: float
    largest: float
    best: Partition
    smallest: float
    worst: Partition
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]

    def quantile(self, share: float) -> float:
        """The value that this share of the splits does not exceed, to within half the width of a bin.

        Args:
            share: in [0, 1]; half gives the lower median.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"share is {share}; expected a number from 0 to 1")
        wanted = max(1, math.ceil(share * self.n_splits))
        index = int(np.searchsorted(np.cumsum(self.counts), wanted))
        middle = (self.edges[index] + self.edges[index + 1]) / 2
        return float(np.clip(middle, self.smallest, self.largest))


def survey_balanced_splits(matrix: ArrayLike, chunk: int = CHUNK) -> SplitSurvey:
    """All balanced splits of an even number of tasks: exact optimum, mean and distribution of sᵀMs.

    Args:
        matrix: float [n, n], symmetric; only PMP matters.
        chunk: splits held at once; they take about 20·n·chunk bytes.

    >>> survey = survey_balanced_splits(np.diag([1.0, 1.0, 1.0, 1.0]) - [[0, 1, 0, 0], [1, 0, 0, 0], [0] * 4, [0] * 4])
    >>> survey.n_splits, survey.worst.groups, survey.smallest
    (3, ((0, 1), (2, 3)), 2.0)
    """
    square = as_task_matrix(matrix)
    n_tasks, total = len(square), count_balanced_splits(len(square))
    rows = min(_checked_chunk(chunk), total)

    def chunks() -> Iterator[tuple[Int8[Array, "m n"], int]]:
        for first in range(0, total, rows):
            ranks = jnp.minimum(first + jnp.arange(rows), total - 1)
            yield balanced_signs(ranks, n_tasks), min(rows, total - first)

    return _survey(square, chunks())


def survey_random_splits(matrix: ArrayLike, n_splits: int, key: Key[Array, ""], chunk: int = CHUNK) -> SplitSurvey:
    """Uniformly random balanced splits, drawn with replacement: distribution of sᵀMs where there are too many to list.

    Args:
        matrix: float [n, n], symmetric, n even; only PMP matters.
        n_splits: how many to draw.
        key: a JAX random key; the draws depend on ``chunk`` too.
        chunk: splits held at once; they take about 30·n·chunk bytes.
    """
    square = as_task_matrix(matrix)
    count_balanced_splits(len(square))
    if n_splits < 1:
        raise ValueError(f"{n_splits} splits asked for; expected at least 1")
    rows = min(_checked_chunk(chunk), n_splits)

    def chunks() -> Iterator[tuple[Int8[Array, "m n"], int]]:
        for index, first in enumerate(range(0, n_splits, rows)):
            yield random_balanced_signs(jax.random.fold_in(key, index), rows, len(square)), min(rows, n_splits - first)

    return _survey(square, chunks())


class _Tally(NamedTuple):
    counts: Int64[Array, " bins"]
    total: Float[Array, ""]
    largest: Float[Array, ""]
    best: Int8[Array, " n"]
    smallest: Float[Array, ""]
    worst: Int8[Array, " n"]


@jax.jit
def _tally(
    matrix: Float[Array, "n n"], signs: Int8[Array, "m n"], valid: Array, low: Array, width: Array, counts: Array
) -> _Tally:
    """One chunk, of which the first ``valid`` rows count, added to the histogram."""
    forms = signed_forms(matrix, signs)
    counted = jnp.arange(len(forms)) < valid
    bins = jnp.clip(jnp.floor((forms - low) / width).astype(jnp.int32), 0, BINS - 1)
    best = jnp.argmax(jnp.where(counted, forms, -jnp.inf))
    worst = jnp.argmin(jnp.where(counted, forms, jnp.inf))
    return _Tally(
        counts=counts.at[bins].add(counted.astype(counts.dtype)),
        total=jnp.where(counted, forms, 0.0).sum(),
        largest=forms[best],
        best=signs[best],
        smallest=forms[worst],
        worst=signs[worst],
    )


def _survey(matrix: Float[Array, "n n"], chunks: Iterator[tuple[Int8[Array, "m n"], int]]) -> SplitSurvey:
    """Gather chunks of signs, each with the number of its rows that count."""
    # Centring changes no value and keeps a mean shared by all gradients from cancelling in every one of them.
    centred = double_centred(matrix)
    spectrum = np.asarray(jnp.linalg.eigvalsh(centred))
    edges = np.linspace(len(centred) * spectrum[0], len(centred) * spectrum[-1], BINS + 1)
    width = as_float64("width", edges[1] - edges[0] or 1.0)
    counts, totals, n_splits = jnp.zeros(BINS, dtype=jnp.int64), [], 0
    largest, smallest = (-math.inf, np.empty(0)), (math.inf, np.empty(0))
    for signs, valid in chunks:
        tally = _tally(centred, signs, jnp.asarray(valid), jnp.asarray(edges[0]), width, counts)
        counts, n_splits = tally.counts, n_splits + valid
        totals.append(float(tally.total))
        if float(tally.largest) > largest[0]:
            largest = float(tally.largest), np.asarray(tally.best)
        if float(tally.smallest) < smallest[0]:
            smallest = float(tally.smallest), np.asarray(tally.worst)
    return SplitSurvey(
        n_splits=n_splits,
        mean=math.fsum(totals) / n_splits,
        largest=largest[0],
        best=Partition.from_labels(largest[1] < 0),
        smallest=smallest[0],
        worst=Partition.from_labels(smallest[1] < 0),
        edges=edges,
        counts=np.asarray(counts),
    )


def _checked_chunk(chunk: int) -> int:
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; expected at least 1 split")
    return chunk
