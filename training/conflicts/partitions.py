"""Partitions of a run: what each rule gives, and the file that says how stable that is and where it stands."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from merit_theory.balanced_kmeans import balanced_kmeans_partition
from merit_theory.conflict import Centre, centred, cosine_from_gram, principal_axes
from merit_theory.conflict_induced import conflict_induced_apart_partition, conflict_induced_partition
from merit_theory.kmeans_partition import kmeans_partition
from merit_theory.least_gain import least_gain_partition
from merit_theory.partition import Partition, pca_partition, random_partition, swap_refined
from merit_theory.random_standing import random_standing
from merit_theory.stability import centring_agreement, resampled_grams, split_stability
from training.config import PartitionSettings
from training.conflicts.measure import MeasuredConflicts
from training.conflicts.partition_rules import PartitionRule
from training.errors import InputError
from training.run_directory import RunDirectory, write_json
from training.seeds import child_generator

RANDOM_PARTITIONS = 200
"""Random partitions that each partition is ranked among."""

SEARCHES = {
    "kmeans": kmeans_partition,
    "kmeans-balanced": balanced_kmeans_partition,
    "worst": least_gain_partition,
}
"""Rules that look for a partition from random places; each is given the same ones for all data."""

READINGS = {
    "conflict-induced": conflict_induced_partition,
    "conflict-induced-apart": conflict_induced_apart_partition,
}
"""Both readings of the paper's greedy rule."""


def make_partitions(
    run: RunDirectory,
    rules: Iterable[PartitionRule],
    conflicts: MeasuredConflicts,
    settings: PartitionSettings,
    splits: Mapping[str, Sequence[Sequence[str]]],
    seed: int,
) -> dict[PartitionRule, list[list[str]]]:
    """Divide the tasks by every rule, write ``partitions/NAME.json`` for each, and return its groups of task names.

    Rules that look at gradients are all put to the same resamples of these.

    Raises:
        InputError: the conflicts allow no such partition.
    """
    # Products between so few tasks are over before threads are started, many times over on a busy machine.
    with threadpool_limits(1):
        rules = tuple(rules)
        resamples: Iterable[NDArray[np.float64]] = ()
        if any(_looks_at_gradients(rule) for rule in rules):
            generator = child_generator(seed, "resamples")
            resamples = resampled_grams(conflicts.sums, conflicts.counts, draws=settings.resamples, rng=generator)
        return {
            rule: _make_partition(run, rule, conflicts, settings, splits.get(rule.name, ()), seed, resamples)
            for rule in rules
        }


def _looks_at_gradients(rule: PartitionRule) -> bool:
    return rule.kind not in ("random", "given")


def _make_partition(
    run: RunDirectory,
    rule: PartitionRule,
    conflicts: MeasuredConflicts,
    settings: PartitionSettings,
    given: Sequence[Sequence[str]],
    seed: int,
    resamples: Iterable[NDArray[np.float64]],
) -> list[list[str]]:
    tasks, gram = conflicts.tasks, conflicts.estimate.gram
    weights = {"samples": conflicts.train_samples, "tokens": conflicts.train_tokens}.get(settings.cut)
    record: dict[str, Any] = {"name": rule.name, "rule": rule.kind}
    try:
        if rule.kind == "given":
            partition = Partition(tuple(tuple(tasks.index(task) for task in group) for group in given))
        elif rule.kind == "random":
            generator = child_generator(seed, f"random partition into {rule.groups}", rule.index)
            partition = random_partition(len(tasks), rule.groups, generator, weights)
            record |= {"index": rule.index, "cut": settings.cut}
        else:
            divide = _division(rule, settings, weights, seed)
            partition = divide(gram)
            record |= {"matrix": rule.matrix, **_stability(partition, divide, resamples)}
            if rule.kind == "pca":
                record |= _along_axes(rule, conflicts, settings, weights)
        record |= _standing(partition, gram, child_generator(seed, "random standing", rule.name))
    except ValueError as error:
        raise InputError(f"partition {rule.name}: {error}") from None
    groups = [[tasks[index] for index in group] for group in partition.groups]
    samples = [int(conflicts.train_samples[list(group)].sum()) for group in partition.groups]
    write_json(run.partition(rule.name), record | {"groups": groups, "samples": samples})
    return groups


def _division(
    rule: PartitionRule, settings: PartitionSettings, weights: NDArray[np.int64] | None, seed: int
) -> Callable[[NDArray[np.float64]], Partition]:
    """The rule as a function of the Gram matrix of the task gradients; equal matrices give equal partitions."""
    if rule.kind == "pca":
        return partial(_cut, rule, settings.centre, settings, weights)
    if rule.kind in READINGS:
        return lambda gram: READINGS[rule.kind](_matrix(rule, gram), rule.groups)
    search = SEARCHES[rule.kind]
    return lambda gram: search(_matrix(rule, gram), rule.groups, child_generator(seed, "partition search", rule.name))


def _matrix(rule: PartitionRule, gram: NDArray[np.float64]) -> NDArray[np.float64]:
    return gram if rule.matrix == "gram" else cosine_from_gram(gram)


def _cut(
    rule: PartitionRule,
    centre: Centre,
    settings: PartitionSettings,
    weights: NDArray[np.int64] | None,
    gram: NDArray[np.float64],
) -> Partition:
    partition = pca_partition(_matrix(rule, gram), rule.depth, centre=centre, cut=settings.cut, weights=weights)
    return swap_refined(partition, centred(gram, "double")) if rule.swap else partition


def _stability(
    partition: Partition,
    divide: Callable[[NDArray[np.float64]], Partition],
    resamples: Iterable[NDArray[np.float64]],
) -> dict[str, Any]:
    stability = split_stability(partition, [divide(gram) for gram in resamples])
    return {
        "flip_probability": stability.flip_probability.tolist(),
        "same_partition": stability.same_partition,
        "mean_adjusted_rand": stability.mean_adjusted_rand,
    }


def _standing(partition: Partition, gram: NDArray[np.float64], rng: np.random.Generator) -> dict[str, Any]:
    standing = random_standing(partition, gram, draws=RANDOM_PARTITIONS, rng=rng)
    return {
        "objective": standing.objective,
        "random_objective": standing.random_mean,
        "rank": standing.rank,
        "random_draws": standing.draws,
    }


def _along_axes(
    rule: PartitionRule,
    conflicts: MeasuredConflicts,
    settings: PartitionSettings,
    weights: NDArray[np.int64] | None,
) -> dict[str, Any]:
    gram = conflicts.estimate.gram
    agreement = centring_agreement(lambda centre: _cut(rule, centre, settings, weights, gram))
    axes = principal_axes(_matrix(rule, gram), len(gram), centre=settings.centre)
    variances = np.maximum(axes.eigenvalues, 0.0)
    shown = max(2, rule.depth)
    return {
        "centre": settings.centre,
        "cut": settings.cut,
        "swapped_on": "centred gram" if rule.swap else None,
        "axes": {
            "coordinates": axes.coordinates[:, :shown].tolist(),
            "explained": (variances[:shown] / (variances.sum() or 1.0)).tolist(),
        },
        "adjusted_rand": {"-".join(pair): index for pair, index in agreement.items()},
    }
