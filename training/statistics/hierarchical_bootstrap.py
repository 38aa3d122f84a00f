r"""Draws of a study's difference with every level resampled: mixture, seed, partition, task, item.

Each draw takes as many mixtures as there are, with replacement; within each of those as many seeds, within each seed as
many partitions; and, crossed with them, as many tasks and within each as many items. What is drawn twice is resampled
twice, independently. Tasks are crossed with seeds and partitions because all of them are tested on the same tasks: to
draw tasks anew for every seed would divide their noise by the number of seeds.

With n members at the top the percentile interval is too narrow by about (n - 1) / n in variance and by its normal
quantiles; noise of lower levels counts once more than it should where a level above is resampled, because the members'
means already hold it (Davison and Hinkley 1997, section 3.8). The first wins where mixtures differ, the second where
they do not. Measured coverage of a 95 % interval stands in :mod:`training.statistics.student`.
"""

import numpy as np
from numpy.typing import NDArray

from training.statistics.paired import PairedMixture, PairedStudy

ENTRIES_AT_ONCE = 1 << 20
"""Counts of items held at a time, 8 bytes each: draws are made in chunks of this size."""


def bootstrap(study: PairedStudy, draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Differences of ``draws`` resampled studies [draws]; a level of one member is in every draw as it is."""
    mixtures = len(study.mixtures)
    counts = generator.multinomial(mixtures, np.full(mixtures, 1 / mixtures), size=draws)
    totals = np.zeros(draws)
    for number, mixture in enumerate(study.mixtures):
        owner = np.repeat(np.arange(draws), counts[:, number])
        totals += np.bincount(owner, _mixture_draws(mixture, len(owner), generator), minlength=draws)
    return totals / mixtures


def _mixture_draws(mixture: PairedMixture, draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    pairs = _pair_weights(mixture, draws, generator)
    tasks = len(mixture.tasks)
    counts = generator.multinomial(tasks, np.full(tasks, 1 / tasks), size=draws)
    totals = np.zeros(draws)
    for task in range(tasks):
        owner = np.repeat(np.arange(draws), counts[:, task])
        widest = max(len(run.items[task]) for run in mixture.runs)
        for first in range(0, len(owner), rows := max(1, ENTRIES_AT_ONCE // widest)):
            chunk = owner[first : first + rows]
            totals += np.bincount(chunk, _task_draws(mixture, task, pairs, chunk, generator), minlength=draws)
    return totals / tasks


def _task_draws(
    mixture: PairedMixture,
    task: int,
    pairs: list[NDArray[np.float64]],
    owner: NDArray[np.intp],
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Difference on one task with resampled items, over the pairs that the draw ``owner`` [n] holds: float64 [n]."""
    values = np.zeros(len(owner))
    counts = np.zeros((0, 0))
    for number, (run, weights) in enumerate(zip(mixture.runs, pairs, strict=True)):
        items = run.items[task]
        if number == 0 or not mixture.shares_items:
            counts = _item_counts(len(items), len(owner), generator)
        sums = counts @ run.differences[items]
        values += (sums * weights[owner]).sum(axis=1) / (counts @ run.weights[items])
    return values


def _pair_weights(mixture: PairedMixture, draws: int, generator: np.random.Generator) -> list[NDArray[np.float64]]:
    """Weight of each pair of each run in each draw: for every run float64 [draws, n_pairs]; they add up to one."""
    runs = len(mixture.runs)
    seeds = generator.multinomial(runs, np.full(runs, 1 / runs), size=draws)
    weights = []
    for number, run in enumerate(mixture.runs):
        pairs = run.differences.shape[1]
        # A seed that is drawn c times has c independent draws of its partitions: one of c times as many.
        drawn = generator.multinomial(seeds[:, number] * pairs, np.full(pairs, 1 / pairs))
        weights.append(drawn / (runs * pairs))
    return weights


def _item_counts(items: int, draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """How often each of n items is in each of the draws of n: float64 [draws, items]."""
    drawn = generator.integers(items, size=(draws, items)) + items * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * items).reshape(draws, items).astype(np.float64)
