"""Two arms over several runs: ``training compare``. Reads evaluations only; trains and evaluates nothing."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import InputError
from training.evaluation.items import Items, load_items
from training.intact import is_intact_npz
from training.run_directory import RunDirectory, read_json
from training.seeds import child_generator
from training.statistics.difference import PairedDifference, paired_difference
from training.statistics.holm import holm
from training.statistics.metric import METRICS, Metric
from training.statistics.paired import PairedRun, PairedStudy, group_by_tasks
from training.statistics.permutation_rank import PermutationRank, permutation_rank
from training.statistics.signed_rank import SignedRank, signed_rank
from training.statistics.variance_components import measured_design, variance_components
from training.statistics.visible_effect import VisibleEffect, visible_effect

DRAWS = 4000
RUNS_FOR_SIGNED_RANK = 5
"""Fewer runs cannot reach 5 % one-sided."""

ALPHA = 0.05

RANDOM = re.compile(r"random-(\d+)(-s\d+)?((?:-uniform)?(?:[+@].*)?)")
NAME = re.compile(r"(?P<branches>.+?)(?P<ending>(?:-uniform)?(?:[+@].*)?)")
"""An arm's name: what is trained, then how it is merged and scaled."""


@dataclass(frozen=True, slots=True)
class ComparedArms:
    """An arm against one control, over all runs.

    Attributes:
        arm: its name.
        against: the control's; ``random-K`` stands for all random arms of K groups.
        pooled: names of the control's arms, over all runs.
        difference: arm minus control.
        holm: p-value of the difference, adjusted for the number of controls.
        signed_rank: over runs, where there are five or more.
        signed_rank_holm: its p-value, adjusted likewise.
        rank: of the arm's partition among random ones into as many groups, all merged and scaled alike.
        visible: the smallest difference that so many of each level could show; None where nothing varies.
        doubts: what the numbers do not show.
    """

    arm: str
    against: str
    pooled: tuple[str, ...]
    difference: PairedDifference
    holm: float
    signed_rank: SignedRank | None
    signed_rank_holm: float | None
    rank: PermutationRank | None
    visible: VisibleEffect | None
    doubts: tuple[str, ...]

    @property
    def verdicts(self) -> tuple[str, ...]:
        """One sentence of each result."""
        results = (self.difference, self.signed_rank, self.rank, self.visible)
        verdicts = [result.verdict for result in results if result is not None]
        claims = [(self.difference.p_value, self.holm)]
        if self.signed_rank is not None and self.signed_rank_holm is not None:
            claims.append((self.signed_rank.p_value, self.signed_rank_holm))
        lost = [f"{corrected:.3g}" for p_value, corrected in claims if p_value <= ALPHA < corrected]
        if lost:
            adjusted = f"p = {' and '.join(lost)} by Holm"
            verdicts.insert(len(claims), f"Corrected for the number of controls, that may be chance ({adjusted}).")
        return tuple(verdicts)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What ``training compare`` shows and writes."""

    metric: str
    unit: str
    lower_is_better: bool
    runs: tuple[str, ...]
    rows: tuple[ComparedArms, ...]

    def as_json(self) -> dict[str, Any]:
        """JSON values, verdicts included."""
        values = asdict(self)
        for row, written in zip(self.rows, values["rows"], strict=True):
            written["verdicts"] = list(row.verdicts)
            counts = row.difference.counts
            written["levels"] = {"covered": list(counts.covered), "silent": list(counts.silent)}
        return values


def compare_runs(
    folders: Sequence[Path], arm: str, controls: Sequence[str], metric_name: str = "loss", seed: int = 0
) -> Comparison:
    """Compare ``arm`` with each control on the test items of every run.

    Runs over the same tasks are seeds of one mixture.

    Args:
        folders: run directories.
        arm: name of an arm in the recipe of each.
        controls: names of others; ``random-K`` pools all random arms of K groups, whatever their seeds.
        metric_name: what is compared, a name in ``METRICS``.
        seed: of the resampling.

    Raises:
        InputError: a run whose recipe has no such arm or control, an evaluation that is missing or damaged, or no items
            that the metric applies to.
    """
    if metric_name not in METRICS:
        raise InputError(f"unknown metric {metric_name!r}; take one of: {', '.join(METRICS)}")
    metric = METRICS[metric_name]
    _refuse_repetitions(folders, arm, controls)
    own = [_load(folder, arm) for folder in folders]
    pools = [_pool(folders, control) for control in controls]
    studies = [_study(folders, arm, own, pool, metric) for pool in pools]
    drawn = [
        paired_difference(study, DRAWS, child_generator(seed, "compare", control))
        for study, control in zip(studies, controls, strict=True)
    ]
    tests = [_signed_rank(study, metric) for study in studies]
    adjusted = holm([difference.p_value for difference in drawn])
    # All controls are met in the same runs, so either each has the test or none.
    adjusted_tests = holm([test.p_value for test in tests if test is not None])
    rows = []
    for number, (control, pool, study) in enumerate(zip(controls, pools, studies, strict=True)):
        repeated = any(len(mixture.runs) > 1 for mixture in study.mixtures)
        rank = None
        if _is_rule_among(folders, arm, control):
            generator = child_generator(seed, "permutation rank")
            rank = _rank(own, pool, metric, repeated=repeated, generator=generator)
        components = variance_components(study)
        rows.append(
            ComparedArms(
                arm=arm,
                against=control,
                pooled=tuple(dict.fromkeys(name for arms in pool for name in arms)),
                difference=drawn[number],
                holm=float(adjusted[number]),
                signed_rank=tests[number],
                signed_rank_holm=None if tests[number] is None else float(adjusted_tests[number]),
                rank=rank,
                visible=visible_effect(components, measured_design(study)) if components.measured else None,
                doubts=_doubts(study),
            )
        )
    return Comparison(metric.name, metric.unit, metric.lower_is_better, tuple(map(str, folders)), tuple(rows))


def _refuse_repetitions(folders: Sequence[Path], arm: str, controls: Sequence[str]) -> None:
    resolved = [folder.resolve() for folder in folders]
    for folder in folders:
        if resolved.count(folder.resolve()) > 1:
            raise InputError(f"run {folder} is given twice; give each run once")
    for control in controls:
        if controls.count(control) > 1:
            raise InputError(f"--against {control} is given twice; give each control once")
    if arm in controls:
        raise InputError(f"--against {arm} is the arm itself; name another")


def _arms(folder: Path) -> list[str]:
    """Names of the arms of a run: those of its recipe; evaluations of an earlier recipe may stand beside theirs."""
    config = RunDirectory(folder).config
    try:
        return list(tomllib.loads(config.read_text(encoding="utf-8"))["arms"])
    except FileNotFoundError:
        raise InputError(
            f"{folder} is no run directory: it has no config.toml; give one that `training run` wrote"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{config} is damaged ({error}); run the recipe of {folder} again") from None


def _load(folder: Path, arm: str) -> Items:
    path, arms = RunDirectory(folder).evaluation(arm), _arms(folder)
    if arm not in arms:
        raise InputError(f"run {folder} has no arm {arm!r}; its arms are: {', '.join(arms)}")
    if not path.exists():
        raise InputError(f"run {folder} has not evaluated {arm!r} yet; run its recipe again to finish it")
    if not is_intact_npz(path):
        raise InputError(f"{path} is damaged; run the recipe of {folder} again")
    return load_items(path)


def _pool(folders: Sequence[Path], control: str) -> list[dict[str, Items]]:
    """The arms that a control's name stands for, in each run."""
    return [{name: _load(folder, name) for name in _pooled_names(control, _arms(folder))} for folder in folders]


def _pooled_names(control: str, arms: Sequence[str]) -> list[str]:
    """Random arms of all seeds where the control is one without a seed, else the control itself.

    ``random-2`` and ``random-2-s0`` are the same partition, and count once.

    >>> _pooled_names("random-2", ["joint", "random-2", "random-2-s0", "random-2-s1", "random-2-uniform", "random-4"])
    ['random-2', 'random-2-s1']
    """
    asked = RANDOM.fullmatch(control)
    if asked is None or asked[2]:
        return [control]
    found: dict[int, str] = {}
    for name in arms:
        same = RANDOM.fullmatch(name)
        if same and (same[1], same[3]) == (asked[1], asked[3]):
            found.setdefault(int((same[2] or "-s0")[2:]), name)
    return list(found.values()) or [control]


def _study(
    folders: Sequence[Path], arm: str, own: Sequence[Items], pool: Sequence[dict[str, Items]], metric: Metric
) -> PairedStudy:
    partitioned = any(RANDOM.fullmatch(name) for name in (arm, *pool[0]))
    runs = [_pair(*run, arm, metric) for run in zip(folders, own, pool, strict=True)]
    return group_by_tasks(runs, partitioned=partitioned)


def _pair(
    folder: Path, own: Items, others: dict[str, Items], arm: str, metric: Metric
) -> tuple[tuple[str, ...], PairedRun]:
    tasks = metric.tasks(own)
    if not len(tasks):
        raise InputError(f"run {folder} has no tasks for the metric {metric.name!r}; take another --metric")
    weights = metric.weights(own)
    chosen = np.flatnonzero(np.isin(own.task, tasks) & (weights > 0))
    number = np.searchsorted(tasks, own.task[chosen])
    for index in set(range(len(tasks))) - set(number.tolist()):
        raise InputError(
            f"run {folder} has no {metric.name} for task {own.tasks[tasks[index]]!r}; take another --metric, or "
            "evaluate it with evaluation.generate above 0"
        )
    values = metric.sums(own)[chosen].astype(np.float64)
    columns = []
    for name, items in others.items():
        same = items.tasks == own.tasks and np.array_equal(items.task, own.task)
        if not same or not np.array_equal(metric.weights(items), weights):
            raise InputError(
                f"arms {arm!r} and {name!r} of run {folder} were evaluated on other items; run its recipe again"
            )
        columns.append(values - metric.sums(items)[chosen])
    paired = PairedRun(str(folder), number, weights[chosen].astype(np.float64), np.stack(columns, axis=1))
    return tuple(own.tasks[task] for task in tasks), paired


def _signed_rank(study: PairedStudy, metric: Metric) -> SignedRank | None:
    values = np.concatenate([mixture.seed_values for mixture in study.mixtures])
    if len(values) < RUNS_FOR_SIGNED_RANK:
        return None
    return signed_rank(values if metric.lower_is_better else -values)


def _is_rule_among(folders: Sequence[Path], arm: str, control: str) -> bool:
    """Whether the arm differs from the control's in nothing but who drew its groups, which is what a rank presumes.

    That takes a rule that divides the tasks into as many groups, and the same merge and scale.
    """
    asked, own = RANDOM.fullmatch(control), NAME.fullmatch(arm)
    if asked is None or own is None or RANDOM.fullmatch(arm) or own["ending"] != asked[3]:
        return False
    partitions = [RunDirectory(folder).partition(own["branches"]) for folder in folders]
    return all(path.exists() and len(read_json(path)["groups"]) == int(asked[1]) for path in partitions)


def _rank(
    own: Sequence[Items],
    pool: Sequence[dict[str, Items]],
    metric: Metric,
    *,
    repeated: bool,
    generator: np.random.Generator,
) -> PermutationRank:
    sign = 1 if metric.lower_is_better else -1
    rule = [sign * _macro(items, metric) for items in own]
    randoms = [[sign * _macro(items, metric) for items in arms.values()] for arms in pool]
    return permutation_rank(rule, randoms, generator, repeated=repeated)


def _macro(items: Items, metric: Metric) -> float:
    chosen = metric.weights(items) > 0
    sums, weights = (items.per_task(column(items), chosen) for column in (metric.sums, metric.weights))
    tasks = metric.tasks(items)
    return float((sums[tasks] / weights[tasks]).mean())


def _doubts(study: PairedStudy) -> tuple[str, ...]:
    doubts = []
    repeated = any(len(mixture.runs) > 1 for mixture in study.mixtures)
    names = [task for mixture in study.mixtures for task in mixture.tasks]
    if shared := len(names) - len(set(names)):
        doubts.append(f"Mixtures are taken as independent, but {shared} of their {len(names)} tasks stand in several.")
    if len(study.mixtures) > 1 and repeated:
        doubts.append("Wilcoxon's test takes runs as independent; those of one mixture are not, beyond that mixture.")
    return tuple(doubts)
