"""Differences between two arms, item by item: the one form in which every statistic here takes its data."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from training.statistics.levels import Counts


@dataclass(frozen=True)
class PairedRun:
    """One arm against one or several others of the same run, on the same items.

    Attributes:
        name: of the run, for messages.
        task: int64 [n_items], index of each item's task; every task of the mixture has an item.
        weights: float64 [n_items], positive: answer tokens, or ones.
        differences: float64 [n_items, n_pairs], the arm's value minus the other's, not yet divided by the weights;
            a pair for each partition that the other arm was drawn with.
    """

    name: str
    task: NDArray[np.int64]
    weights: NDArray[np.float64]
    differences: NDArray[np.float64]

    @cached_property
    def items(self) -> tuple[NDArray[np.intp], ...]:
        """Indices of the items of each task."""
        return tuple(np.flatnonzero(self.task == task) for task in range(int(self.task.max()) + 1))

    @cached_property
    def cells(self) -> NDArray[np.float64]:
        """Difference of each pair on each task [n_pairs, n_tasks]."""
        sums = np.stack([self.differences[chosen].sum(axis=0) for chosen in self.items], axis=1)
        return sums / np.array([self.weights[chosen].sum() for chosen in self.items])

    def has_the_items_of(self, other: "PairedRun") -> bool:
        """Whether tasks and weights agree item by item.

        Other items with the same weights pass. That does no harm: the mean of unrelated items in the same places varies
        as little as that of items drawn separately.
        """
        return np.array_equal(self.task, other.task) and np.array_equal(self.weights, other.weights)


@dataclass(frozen=True)
class PairedMixture:
    """All runs over one set of tasks."""

    tasks: tuple[str, ...]
    runs: tuple[PairedRun, ...]

    @cached_property
    def shares_items(self) -> bool:
        """Whether all runs were tested on the same items."""
        return all(run.has_the_items_of(self.runs[0]) for run in self.runs)

    @cached_property
    def tested(self) -> tuple[PairedRun, ...]:
        """Runs with items of their own: the first one where all share them."""
        return self.runs[:1] if self.shares_items else self.runs

    @cached_property
    def seed_values(self) -> NDArray[np.float64]:
        """Macro mean difference of each run [n_runs]."""
        return np.array([run.cells.mean() for run in self.runs])

    @property
    def value(self) -> float:
        """Macro mean difference: over pairs, then runs, and over tasks."""
        return float(self.seed_values.mean())


@dataclass(frozen=True)
class PairedStudy:
    """Everything that one comparison of two arms rests on.

    Attributes:
        mixtures: at least one; each weighs the same, whatever its number of tasks or runs.
        partitioned: whether an arm's partition was drawn at random, and is a level of its own.
    """

    mixtures: tuple[PairedMixture, ...]
    partitioned: bool = False

    @cached_property
    def mixture_values(self) -> NDArray[np.float64]:
        """Macro mean difference of each mixture [n_mixtures]."""
        return np.array([mixture.value for mixture in self.mixtures])

    @property
    def value(self) -> float:
        """The difference: the mean over mixtures."""
        return float(self.mixture_values.mean())

    @cached_property
    def counts(self) -> Counts:
        """How many of each level there are."""
        runs = [run for mixture in self.mixtures for run in mixture.runs]
        return Counts(
            mixture=len(self.mixtures),
            seed=len(runs),
            partition=sum(run.differences.shape[1] for run in runs) if self.partitioned else None,
            task=sum(len(mixture.tasks) for mixture in self.mixtures),
            item=sum(len(run.task) for mixture in self.mixtures for run in mixture.tested),
        )


def group_by_tasks(runs: Sequence[tuple[tuple[str, ...], PairedRun]], *, partitioned: bool) -> PairedStudy:
    """The study of runs given with the names of their tasks, index by index: one mixture for each set of tasks."""
    groups: dict[frozenset[str], list[PairedRun]] = {}
    first: dict[frozenset[str], tuple[str, ...]] = {}
    for tasks, run in runs:
        names = first.setdefault(frozenset(tasks), tasks)
        renumbered = np.array([names.index(task) for task in tasks])[run.task]
        order = np.argsort(renumbered, kind="stable")
        groups.setdefault(frozenset(tasks), []).append(
            PairedRun(run.name, renumbered[order], run.weights[order], run.differences[order])
        )
    mixtures = tuple(PairedMixture(first[tasks], tuple(members)) for tasks, members in groups.items())
    return PairedStudy(mixtures, partitioned)
