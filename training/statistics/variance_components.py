r"""How much each level adds to the noise of a difference, and what a design with other numbers of each would have.

$$\mathrm{Var} = \frac{\sigma^2_\text{mixture}}{M} + \frac{\sigma^2_\text{seed}}{MS}
 + \frac{\sigma^2_\text{partition}}{MSP} + \frac{\sigma^2_\text{task}}{MT} + \frac{\sigma^2_\text{item}}{MTn}$$

Components are found by equating mean squares to their expectations, from the items upwards; one that comes out negative
is set to zero. What a seed does to one task and not to another counts as noise of the seed, so that more tasks lower it
somewhat more than is said here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from training.statistics.levels import LevelName
from training.statistics.paired import PairedMixture, PairedStudy


@dataclass(frozen=True, slots=True)
class Design:
    """Members of each level within each member of the level above; means where they differ.

    Attributes:
        mixture: mixtures.
        seed: runs of each mixture.
        partition: partitions drawn in each run.
        task: tasks of each mixture.
        item: items of each task.
    """

    mixture: float
    seed: float
    partition: float
    task: float
    item: float

    def with_times(self, level: LevelName, factor: float) -> "Design":
        """This design with ``factor`` times as many of one level."""
        return replace(self, **{level: factor * getattr(self, level)})

    def members(self, level: LevelName) -> float:
        """Members of a level in the whole study: what its component is divided by."""
        shared = {
            "mixture": 1.0,
            "seed": self.mixture,
            "partition": self.mixture * self.seed,
            "task": self.mixture,
            "item": self.mixture * self.task,
        }
        return shared[level] * getattr(self, level)


@dataclass(frozen=True, slots=True)
class Components:
    """Variance of the difference between members of each level; None where the study has no two to compare.

    Attributes:
        mixture: between mixtures, over what the levels below explain.
        seed: between runs of a mixture.
        partition: between partitions drawn in a run.
        task: between tasks of a mixture.
        item: between items of a task.
    """

    mixture: float | None
    seed: float | None
    partition: float | None
    task: float | None
    item: float | None

    @property
    def measured(self) -> dict[LevelName, float]:
        """The components that there are, by level."""
        levels: tuple[LevelName, ...] = ("mixture", "seed", "partition", "task", "item")
        return {level: getattr(self, level) for level in levels if getattr(self, level) is not None}

    def contributions(self, design: Design) -> dict[LevelName, float]:
        """Variance that each measured level adds to the difference of a study of this design."""
        return {level: component / design.members(level) for level, component in self.measured.items()}

    def variance(self, design: Design) -> float:
        """Variance of the difference of a study of this design, as far as levels were measured."""
        return sum(self.contributions(design).values())

    def degrees(self, design: Design) -> float:
        """Degrees of freedom that a test of the difference has, as in :mod:`training.statistics.student`."""
        if design.mixture > 1:
            return design.mixture - 1
        parts = self.contributions(design)
        units = design.seed if design.seed > 1 else design.partition
        sides = (
            (parts.get("seed", 0.0) + parts.get("partition", 0.0), units),
            (parts.get("task", 0.0) + parts.get("item", 0.0), design.task if design.task > 1 else design.item),
        )
        varied = [(variance, members - 1) for variance, members in sides if members > 1]
        spread = sum(variance**2 / degrees for variance, degrees in varied)
        if spread == 0:
            return min(degrees for _, degrees in varied)
        return sum(variance for variance, _ in varied) ** 2 / spread


def measured_design(study: PairedStudy) -> Design:
    """The design of a study."""
    mixtures = study.mixtures
    runs = [run for mixture in mixtures for run in mixture.runs]
    return Design(
        mixture=len(mixtures),
        seed=_harmonic([len(mixture.runs) for mixture in mixtures]),
        partition=_harmonic([run.differences.shape[1] for run in runs]) if study.partitioned else 1.0,
        task=_harmonic([len(mixture.tasks) for mixture in mixtures]),
        item=_harmonic([_items(mixture, task) for mixture in mixtures for task in range(len(mixture.tasks))]),
    )


def variance_components(study: PairedStudy) -> Components:
    """The components of a study, each level's without those below it."""
    mixtures = study.mixtures
    design = measured_design(study)
    item_noise = [[_item_noise(mixture, task) for task in range(len(mixture.tasks))] for mixture in mixtures]
    known = [noise for noises in item_noise for noise in noises if noise is not None]
    # Noise of a task's mean from its items, and noise of a run's macro mean from its partitions.
    items = float(np.mean(known)) if known else 0.0
    task = _mean(
        [
            float(np.mean([run.cells.mean(axis=0) for run in mixture.runs], axis=0).var(ddof=1))
            for mixture in mixtures
            if len(mixture.tasks) > 1
        ]
    )
    partition = _mean(
        [
            float(run.cells.mean(axis=1).var(ddof=1))
            for mixture in mixtures
            for run in mixture.runs
            if run.differences.shape[1] > 1
        ]
    )
    seed = _mean([_seed_square(mixture, partition, known) for mixture in mixtures if len(mixture.runs) > 1])
    components = Components(
        mixture=None,
        seed=None if seed is None else max(0.0, seed),
        partition=partition,
        task=None if task is None else max(0.0, task - items),
        item=items * design.item if known else None,
    )
    if len(mixtures) == 1:
        return components
    below = components.variance(replace(design, mixture=1.0))
    return replace(components, mixture=max(0.0, float(study.mixture_values.var(ddof=1)) - below))


def _seed_square(mixture: PairedMixture, partition: float | None, known: Sequence[float]) -> float:
    square = float(mixture.seed_values.var(ddof=1))
    square -= (partition or 0.0) / _harmonic([run.differences.shape[1] for run in mixture.runs])
    if not mixture.shares_items and known:
        # Each run's own items: their noise in one run is as many times that in the mean as there are runs.
        square -= len(mixture.runs) * float(np.mean(known)) / len(mixture.tasks)
    return square


def _item_noise(mixture: PairedMixture, task: int) -> float | None:
    """Variance of the task's difference from the choice of its items, by linearising the ratio; None for one item."""
    residuals = []
    for run in mixture.runs:
        items = run.items[task]
        weights = run.weights[items]
        values = run.differences[items].mean(axis=1)
        residuals.append((values - weights * values.sum() / weights.sum()) / weights.mean())
    if any(len(residual) < 2 for residual in residuals):
        return None
    if mixture.shares_items:
        mean = np.mean(residuals, axis=0)
        return float(mean.var(ddof=1)) / len(mean)
    return sum(float(residual.var(ddof=1)) / len(residual) for residual in residuals) / len(residuals) ** 2


def _items(mixture: PairedMixture, task: int) -> int:
    return sum(len(run.items[task]) for run in mixture.tested)


def _harmonic(counts: Sequence[int]) -> float:
    return len(counts) / sum(1 / count for count in counts)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
