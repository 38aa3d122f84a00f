"""Partitions of a run: the rule of each, and the file that says what it gave and how stable that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from merit_theory.conflict import cosine_from_gram, principal_axes
from merit_theory.partition import Partition, pca_partition, random_partition
from merit_theory.stability import centring_agreement, split_stability
from training.config import PartitionSettings
from training.conflicts import MeasuredConflicts
from training.errors import InputError
from training.run_directory import RunDirectory, write_json
from training.seeds import child_generator


@dataclass(frozen=True, slots=True)
class PartitionRule:
    """How tasks are divided: along principal axes of a matrix, at random, or as given by the user."""

    name: str
    kind: Literal["pca", "random", "given"]
    matrix: Literal["cosine", "gram"] = "cosine"
    depth: int = 1
    groups: int = 2
    index: int = 0

    def check(self, given: Sequence[Sequence[str]], tasks: Sequence[str]) -> None:
        """Refuse a rule that cannot divide these tasks, before anything is computed.

        Raises:
            InputError: fewer tasks than groups, or given groups that are no partition of the tasks.
        """
        if self.kind == "given":
            self._check_given(given, tasks)
            return
        groups = 2**self.depth if self.kind == "pca" else self.groups
        if groups > len(tasks):
            raise InputError(f"arm {self.name} makes {groups} groups of {len(tasks)} tasks; add tasks or drop the arm")

    def _check_given(self, given: Sequence[Sequence[str]], tasks: Sequence[str]) -> None:
        listed = [task for group in given for task in group]
        unknown = next((task for task in listed if task not in tasks), None)
        if unknown is not None:
            raise InputError(f"splits.{self.name} names {unknown!r}, which is not in the mixture: {', '.join(tasks)}")
        wrong = next((task for task in tasks if listed.count(task) != 1), None)
        if wrong is not None:
            times = listed.count(wrong)
            raise InputError(f"splits.{self.name} has task {wrong!r} {times} times; put every task in one group")
        if len(given) < 2 or not all(given):
            raise InputError(f"splits.{self.name} has an empty group or only one; give two groups or more")


def make_partition(
    run: RunDirectory,
    rule: PartitionRule,
    conflicts: MeasuredConflicts,
    settings: PartitionSettings,
    given: Sequence[Sequence[str]],
    seed: int,
) -> list[list[str]]:
    """Divide the tasks, write ``partitions/NAME.json`` and return the groups of task names.

    Raises:
        InputError: the conflicts allow no such partition.
    """
    tasks = conflicts.tasks
    weights = {"samples": conflicts.train_samples, "tokens": conflicts.train_tokens}.get(settings.cut)
    record: dict[str, Any] = {"name": rule.name, "rule": rule.kind}
    try:
        if rule.kind == "given":
            partition = Partition(tuple(tuple(tasks.index(task) for task in group) for group in given))
        elif rule.kind == "random":
            generator = child_generator(seed, f"random partition into {rule.groups}", rule.index)
            partition = random_partition(len(tasks), rule.groups, generator, weights)
            record |= {"index": rule.index}
        else:
            partition, measured = _along_axes(rule, conflicts, settings, weights, seed)
            record |= measured
    except ValueError as error:
        raise InputError(f"partition {rule.name}: {error}") from None
    groups = [[tasks[index] for index in group] for group in partition.groups]
    write_json(run.partition(rule.name), record | {"groups": groups})
    return groups


def _along_axes(
    rule: PartitionRule,
    conflicts: MeasuredConflicts,
    settings: PartitionSettings,
    weights: NDArray[np.int64] | None,
    seed: int,
) -> tuple[Partition, dict[str, Any]]:
    estimate = conflicts.estimate
    matrix = estimate.gram if rule.matrix == "gram" else estimate.cosine
    cut = partial(
        pca_partition,
        depth=rule.depth,
        centre=settings.centre,
        cut=settings.cut,
        weights=weights,
        refine=settings.refine,
    )
    partition = cut(matrix)
    stability = split_stability(
        conflicts.sums,
        conflicts.counts,
        lambda gram: cut(gram if rule.matrix == "gram" else cosine_from_gram(gram)),
        draws=settings.resamples,
        rng=child_generator(seed, "resamples", rule.name),
    )
    agreement = centring_agreement(matrix, rule.depth, cut=settings.cut, weights=weights, refine=settings.refine)
    axes = principal_axes(matrix, len(matrix), centre=settings.centre)
    variances = np.maximum(axes.eigenvalues, 0.0)
    shown = max(2, rule.depth)
    return partition, {
        "matrix": rule.matrix,
        "centre": settings.centre,
        "cut": settings.cut,
        "refine": settings.refine,
        "axes": {
            "coordinates": axes.coordinates[:, :shown].tolist(),
            "explained": (variances[:shown] / (variances.sum() or 1.0)).tolist(),
        },
        "flip_probability": stability.flip_probability.tolist(),
        "same_partition": stability.same_partition,
        "mean_adjusted_rand": stability.mean_adjusted_rand,
        "adjusted_rand": {"-".join(pair): index for pair, index in agreement.items()},
    }
