"""Scores of arms on benchmarks with their intervals: paired bootstrap over the items, as for the losses of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from training.evaluation.items import Items
from training.evaluation.noise import Interval, MacroLosses
from training.harness.measure import Metric, Metrics
from training.harness.tasks import Benchmark
from training.seeds import child_generator

CONTROL = "joint"


@dataclass(frozen=True, slots=True)
class Score:
    """What one arm scored by one metric of a benchmark.

    Attributes:
        arm: its name.
        value: as lm-eval reports it.
        interval: that value with its noise; None where it is no mean over items.
        difference: the value minus the control's on the same items; None for the control itself and without one.
    """

    arm: str
    value: float
    interval: Interval | None
    difference: Interval | None

    @property
    def verdict(self) -> str | None:
        """What the interval of the difference allows to say."""
        if self.difference is None:
            return None
        if not self.difference.separates_from_zero:
            return "not separated from"
        return "lower than" if self.difference.value < 0 else "higher than"


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """All arms by one metric of a benchmark.

    Attributes:
        benchmark: name of the task or group.
        metric: name of the metric.
        higher_is_better: what lm-eval says of it; None where it says nothing.
        items: how many there are.
        scores: one per arm.
    """

    benchmark: str
    metric: str
    higher_is_better: bool | None
    items: int
    scores: tuple[Score, ...]

    @property
    def title(self) -> str:
        """Benchmark and metric, with the direction in which that is better."""
        arrow = {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]
        return f"{self.benchmark} {self.metric}{arrow}"

    def as_json(self) -> dict[str, Any]:
        """JSON values for ``harness.json``."""
        scores = [asdict(score) | {"verdict": score.verdict} for score in self.scores]
        return asdict(self) | {"control": CONTROL, "scores": scores}


def score_tables(
    benchmarks: Sequence[Benchmark], measured: Mapping[str, Mapping[str, Metrics]], draws: int, seed: int
) -> tuple[ScoreTable, ...]:
    """One table for every metric of every benchmark.

    Args:
        benchmarks: what to report.
        measured: by arm and task, what was measured, on the same items for all arms.
        draws: bootstrap draws.
        seed: root seed of the run.
    """
    first = next(iter(measured.values()))
    tables = []
    for benchmark in benchmarks:
        for metric, by_size in _reported(benchmark, first):
            tasks = [task for task in benchmark.tasks if metric in first[task]]
            columns = {arm: [metrics[task][metric] for task in tasks] for arm, metrics in measured.items()}
            generator = child_generator(seed, "harness", f"{benchmark.name}/{metric}")
            scores, items = _scores(columns, by_size, draws, generator)
            better = {entry.higher_is_better for entry in columns[next(iter(columns))]}
            direction = better.pop() if len(better) == 1 else None
            tables.append(ScoreTable(benchmark.name, _shown(metric), direction, items, scores))
    return tuple(tables)


def _reported(benchmark: Benchmark, metrics: Mapping[str, Metrics]) -> list[tuple[str, bool]]:
    """Metrics that are reported of a benchmark, and whether every item weighs the same: as lm-eval reports them."""
    there = list(dict.fromkeys(name for task in benchmark.tasks for name in metrics[task]))
    if not benchmark.aggregates:
        return [(name, True) for name in there]
    return [
        (name, aggregate.by_size)
        for aggregate in benchmark.aggregates
        for name in there
        for metric, _, filtered in [name.partition(",")]
        if metric == aggregate.metric and (aggregate.filters is None or filtered in aggregate.filters)
    ]


def _shown(metric: str) -> str:
    """The metric's name, with the filter of the answers if there is one.

    >>> _shown("acc,none"), _shown("exact_match,strict-match")
    ('acc', 'exact_match (strict-match)')
    """
    name, _, filtered = metric.partition(",")
    return name if filtered == "none" else f"{name} ({filtered})"


def _scores(
    columns: Mapping[str, Sequence[Metric]], by_size: bool, draws: int, generator: np.random.Generator
) -> tuple[tuple[Score, ...], int]:
    """Scores of the arms, each given by the metric on every task, and the number of items."""
    first = next(iter(columns.values()))
    sizes = np.array([len(metric.items) for metric in first])
    weights = sizes if by_size else np.ones(len(sizes))
    values = {
        arm: float(np.average([metric.value for metric in metrics], weights=weights))
        for arm, metrics in columns.items()
    }
    models = [_as_items(metrics, by_size) for metrics in columns.values()]
    paired = all(
        [metric.items for metric in metrics] == [metric.items for metric in first] for metrics in columns.values()
    )
    known = [model for model in models if model is not None]
    if not paired or len(known) < len(models):
        return tuple(Score(arm, value, None, None) for arm, value in values.items()), int(sizes.sum())
    means, names = MacroLosses(known, draws, generator), list(columns)
    control = names.index(CONTROL) if CONTROL in names else None
    scores = tuple(
        Score(
            arm,
            values[arm],
            means.of(number),
            None if control is None or control == number else means.difference(number, control),
        )
        for number, arm in enumerate(names)
    )
    return scores, int(sizes.sum())


def _as_items(metrics: Sequence[Metric], by_size: bool) -> Items | None:
    """Scores in the place of losses, of one token each; where every item weighs the same, all are of one task."""
    scores = [metric.scores for metric in metrics]
    if any(entry is None for entry in scores):
        return None
    values = np.concatenate([np.asarray(entry, dtype=np.float64) for entry in scores])
    task = np.repeat(np.arange(len(metrics)), [len(metric.items) for metric in metrics])
    groups = 1 if by_size else len(metrics)
    return Items(
        tasks=("",) * groups,
        outside=np.zeros(groups, dtype=np.bool_),
        task=np.zeros_like(task) if by_size else task,
        loss=values,
        tokens=np.ones(len(values), dtype=np.int64),
        correct=np.zeros(len(values), dtype=np.int64),
        match=np.full(len(values), -1, dtype=np.int8),
    )
