"""The table that ends a run: every arm with its cost, its loss and what separates it from its controls, if anything."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from training.arms.arm import Arm
from training.arms.controls import controls
from training.branches.spec import BranchSpec
from training.config import Recipe
from training.conflicts.partition_rules import PartitionRule
from training.evaluation.items import Items, load_items
from training.evaluation.noise import Interval, MacroLosses
from training.evaluation.retention_results import RetentionResults, summarise_retention
from training.results.cost import CostTable
from training.results.doubts import (
    clipping_doubts,
    conflict_doubts,
    fit_doubts,
    merge_doubts,
    partition_doubts,
    retention_doubts,
    size_doubts,
)
from training.run_directory import BranchDirectory, RunDirectory, read_json, write_json
from training.seeds import child_generator


@dataclass(frozen=True, slots=True)
class Results:
    """Results of one model: means over the mixture's tasks unless said otherwise.

    Attributes:
        loss: nats per answer token, mean over tasks (the headline).
        token_weighted_loss: nats per answer token over all items.
        accuracy: share of answer tokens that were most likely.
        exact_match: share of generated answers that are right; None where none was generated.
        unseen_loss: like ``loss``, over the unseen tasks; None where there are none.
        unseen_exact_match: like ``exact_match``, over the unseen tasks.
    """

    loss: float
    token_weighted_loss: float
    accuracy: float
    exact_match: float | None
    unseen_loss: float | None
    unseen_exact_match: float | None


@dataclass(frozen=True, slots=True)
class ArmRow:
    """One arm of the table.

    Attributes:
        arm: its name.
        branches: number of branches.
        tokens: training tokens, the primer's included.
        steps: optimiser steps of its longest branch, without the primer.
        seconds: training time of all branches together, without the primer.
        longest_seconds: training time of the longest branch: the wall-clock with a machine for each.
        displacement: ‖θ - θ⁰‖ of the arm's model.
        loss: macro mean loss with its interval over test items.
        branch_loss: mean loss of the branches, weighted by their tokens, or equally where the paper's merge would.
        gain: branch_loss minus loss.
        fitted: whether weights or scale were fitted, which only validation rows of the mixture's tasks make possible.
        results: everything else that was measured.
    """

    arm: str
    branches: int
    tokens: int
    steps: int
    seconds: float
    longest_seconds: float
    displacement: float | None
    loss: Interval
    branch_loss: float | None
    gain: float | None
    fitted: bool
    results: Results


@dataclass(frozen=True, slots=True)
class Difference:
    """Loss of an arm minus that of a control, on the same test items."""

    arm: str
    control: str
    loss: Interval

    @property
    def verdict(self) -> str:
        """What the interval allows to say."""
        if not self.loss.separates_from_zero:
            return "inside the noise"
        return "lower" if self.loss.value < 0 else "higher"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run ends with."""

    rows: tuple[ArmRow, ...]
    differences: tuple[Difference, ...]
    partitions: tuple[PartitionRule, ...]
    groups: Mapping[str, Sequence[Sequence[str]]]
    doubts: tuple[str, ...]
    stage_seconds: Mapping[str, float]
    seed: int
    retention: RetentionResults | None = None
    cost: CostTable | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON values for ``summary.json``."""
        return {
            "seed": self.seed,
            "arms": [asdict(row) for row in self.rows],
            "differences": [asdict(difference) | {"verdict": difference.verdict} for difference in self.differences],
            "groups": dict(self.groups),
            "retention": None if self.retention is None else asdict(self.retention),
            "doubts": list(self.doubts),
            "stage_seconds": dict(self.stage_seconds),
        }


def summarise(
    run: RunDirectory,
    recipe: Recipe,
    arms: Sequence[Arm],
    specs: Mapping[str, Sequence[BranchSpec]],
    primer: BranchSpec | None,
    stage_seconds: Mapping[str, float],
    cost: CostTable | None = None,
) -> Summary:
    """Read the evaluations, and write ``evaluation.json`` and ``summary.json``."""
    models = {arm.name: load_items(run.evaluation(arm.name)) for arm in arms}
    generator = child_generator(recipe.seed, "bootstrap")
    losses = MacroLosses(list(models.values()), recipe.evaluation.bootstrap, generator)
    primer_tokens = 0 if primer is None else read_json(BranchDirectory(run.branch(primer.hash)).done)["tokens"]
    branch_items = {
        spec.evaluation_name: load_items(run.evaluation(spec.evaluation_name))
        for branches in specs.values()
        if len(branches) > 1 and recipe.evaluation.branches
        for spec in branches
    }
    rows = tuple(
        _row(run, arm, specs[arm.name], primer_tokens, losses.of(number), models[arm.name], branch_items)
        for number, arm in enumerate(arms)
    )
    names = [arm.name for arm in arms]
    differences = tuple(
        Difference(arm.name, control, losses.difference(names.index(arm.name), names.index(control)))
        for arm in arms
        for control in controls(arm, specs[arm.name], arms)
    )
    groups = {arm.name: [list(spec.tasks) for spec in specs[arm.name]] for arm in arms if arm.partition}
    partitions = tuple({arm.rule.name: arm.rule for arm in arms if arm.rule}.values())
    doubts = _doubts(run, partitions, arms, rows, specs)
    retention = None
    if recipe.evaluation.retention:
        generator = child_generator(recipe.seed, "retention bootstrap")
        retention = summarise_retention(run, names, recipe.evaluation, generator)
        doubts += retention_doubts(retention)
    summary = Summary(rows, differences, partitions, groups, doubts, stage_seconds, recipe.seed, retention, cost)
    evaluated = models | branch_items
    write_json(run.evaluation_summary, {name: _per_task(items) for name, items in evaluated.items()})
    write_json(run.summary(".json"), summary.as_json())
    return summary


def _doubts(
    run: RunDirectory,
    partitions: Sequence[PartitionRule],
    arms: Sequence[Arm],
    rows: Sequence[ArmRow],
    specs: Mapping[str, Sequence[BranchSpec]],
) -> tuple[str, ...]:
    doubts: list[str] = []
    if run.conflicts.exists():
        conflicts = read_json(run.conflicts)
        doubts += conflict_doubts(conflicts)
        records = [read_json(run.partition(rule.name)) for rule in partitions]
        for record in records:
            doubts += partition_doubts(record, conflicts["tasks"])
        doubts += size_doubts(records)
    done = {
        arm: [read_json(BranchDirectory(run.branch(spec.hash)).done) for spec in branches]
        for arm, branches in specs.items()
    }
    doubts += clipping_doubts(
        {arm: max(entry["clip_rate"] for entry in entries) for arm, entries in done.items() if entries}
    )
    for arm, row in zip(arms, rows, strict=True):
        if arm.is_average:
            doubts += merge_doubts(row.arm, row.gain)
    fits = dict.fromkeys(name for arm in arms for name in arm.fits)
    doubts += fit_doubts({name: read_json(run.fit(name)) for name in fits})
    return tuple(doubts)


def _row(
    run: RunDirectory,
    arm: Arm,
    specs: Sequence[BranchSpec],
    primer_tokens: int,
    loss: Interval,
    items: Items,
    branch_items: Mapping[str, Items],
) -> ArmRow:
    folders = [BranchDirectory(run.branch(spec.hash)) for spec in specs]
    done = [read_json(folder.done) for folder in folders]
    record = read_json(run.arm(arm.name) / "arm.json") if specs else {"weights": []}
    weights = record["weights"]
    branch_loss = None
    if len(specs) > 1 and all(spec.evaluation_name in branch_items for spec in specs):
        measured = [branch_items[spec.evaluation_name] for spec in specs]
        branch_loss = float(np.dot(weights, [branch.task_losses[~branch.outside].mean() for branch in measured]))
    return ArmRow(
        arm=arm.name,
        branches=len(specs),
        tokens=sum(entry["tokens"] for entry in done) + (0 if arm.untrained == "base" else primer_tokens),
        steps=max((entry["steps"] for entry in done), default=0),
        seconds=sum(entry["seconds"] for entry in done),
        longest_seconds=max((entry["seconds"] for entry in done), default=0.0),
        displacement=record["displacement"] if specs else None,
        loss=loss,
        branch_loss=branch_loss,
        gain=None if branch_loss is None else branch_loss - loss.value,
        fitted=bool(arm.fits),
        results=_results(items),
    )


def _results(items: Items) -> Results:
    inside, outside = ~items.outside, items.outside

    def mean(values: np.ndarray, chosen: np.ndarray) -> float | None:
        return float(values[chosen].mean()) if chosen.any() and not np.isnan(values[chosen]).any() else None

    ours = inside[items.task]
    return Results(
        loss=float(items.task_losses[inside].mean()),
        token_weighted_loss=float(items.loss[ours].sum() / items.tokens[ours].sum()),
        accuracy=float(items.task_accuracy[inside].mean()),
        exact_match=mean(items.task_match, inside),
        unseen_loss=mean(items.task_losses, outside),
        unseen_exact_match=mean(items.task_match, outside),
    )


def _per_task(items: Items) -> dict[str, Any]:
    matches = [None if np.isnan(match) else float(match) for match in items.task_match]
    columns = zip(items.tasks, items.outside, items.task_losses, items.task_accuracy, matches, strict=True)
    return asdict(_results(items)) | {
        "tasks": {
            name: {"unseen": bool(outside), "loss": float(loss), "accuracy": float(accuracy), "exact_match": match}
            for name, outside, loss, accuracy, match in columns
        }
    }
