"""Studies with known variance at every level."""

import numpy as np

from training.statistics.paired import PairedMixture, PairedRun, PairedStudy
from training.statistics.variance_components import Components, Design


def draw_study(
    rng: np.random.Generator, components: Components, design: Design, *, mean: float = 0.0, own_items: bool = False
) -> PairedStudy:
    """A balanced study with normal effects; the items are those of all runs, or each run's own."""
    mixtures, seeds, partitions, tasks, items = (
        int(getattr(design, level)) for level in ("mixture", "seed", "partition", "task", "item")
    )
    spread = {level: np.sqrt(variance) for level, variance in components.measured.items()}
    task = np.repeat(np.arange(tasks), items)
    drawn = []
    for _ in range(mixtures):
        of_mixture = mean + rng.normal(0, spread.get("mixture", 0))
        of_tasks = np.repeat(rng.normal(0, spread.get("task", 0), tasks), items)
        of_items = rng.normal(0, spread.get("item", 0), (seeds if own_items else 1, len(task)))
        runs = []
        for seed in range(seeds):
            of_seed = rng.normal(0, spread.get("seed", 0))
            of_partitions = rng.normal(0, spread.get("partition", 0), partitions)
            common = of_mixture + of_seed + of_tasks + of_items[seed if own_items else 0]
            weights = np.ones(len(task)) + (seed if own_items else 0)
            runs.append(PairedRun(f"run {seed}", task, weights, weights[:, None] * (common[:, None] + of_partitions)))
        drawn.append(PairedMixture(tuple(f"t{number}" for number in range(tasks)), tuple(runs)))
    return PairedStudy(tuple(drawn), partitioned=partitions > 1)


def study_of(cells: np.ndarray) -> PairedStudy:
    """One mixture of one run for each row of ``cells`` [n_runs, n_tasks], every task with a single item."""
    tasks = cells.shape[1]
    runs = tuple(PairedRun(f"run {n}", np.arange(tasks), np.ones(tasks), row[:, None]) for n, row in enumerate(cells))
    return PairedStudy((PairedMixture(tuple(f"t{number}" for number in range(tasks)), runs),))
