"""Reports of doubt: what in a run should make its reader hesitate, each with what would help."""

from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation.retention_results import RetentionResults

LOW_RELIABILITY = 0.7
FEW_ENTRIES = 1_000
LIKELY_FLIP = 0.2
UNSTABLE = 0.5
NO_BETTER_THAN_RANDOM = 0.5
UNEVEN = 1.5
"""Samples of a partition's largest group over those of its smallest, beyond which the sizes are a difference too."""
MEANT_TO_PART = ("pca", "kmeans", "kmeans-balanced")
"""Rules that mean to put unlike gradients into different groups."""
OFTEN_CLIPPED = 0.5
MUCH_SHORTER = 0.5
"""Share of the reference's mean answer length below which an arm has unlearnt to answer at length."""
NOTICEABLE_LOSS = 0.01
"""In nats: branches that hardly moved lose or gain less than this by rounding alone."""


def conflict_doubts(conflicts: Mapping[str, Any]) -> list[str]:
    """Doubts about the gradients, from ``conflicts.json``."""
    doubts = []
    columns = ("tasks", "reliability", "examples_for_reliability_0.95", "participation_ratio")
    measured = list(zip(*(conflicts[column] for column in columns), strict=True))
    for task, reliability, needed, _ in measured:
        if needed is None:
            doubts.append(
                f"{task}: its gradient is indistinguishable from sampling noise; the task is at its optimum, or needs "
                "many more calibration examples"
            )
        elif reliability < LOW_RELIABILITY:
            doubts.append(
                f"{task}: {reliability:.0%} of its gradient is signal; about {needed:,} calibration examples would "
                "make it 95 %"
            )
    narrow = [f"{task} ({entries:,.0f})" for task, _, _, entries in measured if entries < FEW_ENTRIES]
    if narrow:
        doubts.append(
            f"few entries dominate the gradients of {', '.join(narrow)} (effective number of entries); a subsample "
            "would miss them, and conflicts speak of these entries above all"
        )
    return doubts


def partition_doubts(partition: Mapping[str, Any], tasks: Sequence[str]) -> list[str]:
    """Doubts about a partition that looks at gradients, from ``partitions/NAME.json``; others raise none."""
    if "flip_probability" not in partition:
        return []
    name, doubts = partition["name"], []
    if partition["same_partition"] < UNSTABLE:
        doubts.append(f"{name}: only {partition['same_partition']:.0%} of resamples give this partition again")
    flips = zip(tasks, partition["flip_probability"], strict=True)
    likely = [f"{task} ({probability:.0%})" for task, probability in flips if probability > LIKELY_FLIP]
    if likely:
        doubts.append(
            f"{name}: resampling moves {', '.join(likely)} to another group; more calibration examples would help"
        )
    apart = [pair for pair, index in partition.get("adjusted_rand", {}).items() if index < 1]
    if apart:
        doubts.append(f"{name}: the centring decides the split ({', '.join(apart)} disagree)")
    better = (partition.get("rank", 1) - 1) / partition.get("random_draws", 1)
    if partition["rule"] in MEANT_TO_PART and better > NO_BETTER_THAN_RANDOM:
        doubt = f"{name}: {better:.0%} of random partitions with groups of these sizes part the gradients more"
        if partition["matrix"] == "cosine" and not partition.get("swapped_on"):
            doubt += "; cosines leave the gradients' norms out: compare merit-1d-swap or raw-1d"
        doubts.append(doubt)
    return doubts


def size_doubts(partitions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Doubts about comparing partitions of a run, from their ``partitions/NAME.json``: groups of unlike sizes.

    Along axes and at random, groups are cut to as many training samples as can be; other rules even out the number of
    tasks, or nothing.
    """
    ratios = {record["name"]: max(record["samples"]) / min(record["samples"]) for record in partitions}
    even = {
        len(record["groups"]): record["name"]
        for record in partitions
        if record["rule"] == "pca"
        and (record["matrix"], record["swapped_on"]) == ("cosine", None)
        and ratios[record["name"]] <= UNEVEN
    }
    return [
        f"{name}: its largest group has {ratios[name]:.1f} times the training samples of its smallest, that of {merit} "
        f"{ratios[merit]:.1f} times; a difference between them may be one of sizes"
        for name, merit in ((record["name"], even.get(len(record["groups"]))) for record in partitions)
        if merit is not None and ratios[name] > UNEVEN
    ]


def clipping_doubts(clip_rates: Mapping[str, float]) -> list[str]:
    """Doubts about the step size, from the largest share of clipped steps among each arm's branches."""
    clipped = [f"{arm} ({rate:.0%})" for arm, rate in clip_rates.items() if rate > OFTEN_CLIPPED]
    return [f"most steps were clipped in {', '.join(clipped)}; the limit acts as a step size"] if clipped else []


def merge_doubts(arm: str, gain: float | None) -> list[str]:
    """Doubts about a merge: whether its branches are in one basin."""
    if gain is None or gain > -NOTICEABLE_LOSS:
        return []
    return [
        f"{arm}: merging made the loss {-gain:.3f} nats worse than the branches' mean; the branches are not in one "
        "basin: lower branch.learning_rate or lengthen the primer"
    ]


def fit_doubts(fits: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Doubts about coefficients that were fitted on validation data, from ``fits/NAME.json``."""
    at_bounds = [name for name, fit in fits.items() if fit["at_bound"]]
    if not at_bounds:
        return []
    return [
        f"{', '.join(at_bounds)}: the fit ended where it may not go on, so the arm is no optimum; its branches have "
        "not moved far enough: train them for more epochs"
    ]


def retention_doubts(retention: RetentionResults) -> tuple[str, ...]:
    """Doubts about what tuning has cost outside the mixture: answers at length, and likelihood of the base model's."""
    doubts = []
    short = [
        f"{arm} ({measured.length.value:.0f})"
        for arm, measured in retention.arms.items()
        if measured.length.value < MUCH_SHORTER * retention.reference_length
    ]
    if short:
        doubts.append(
            f"answers to general prompts are much shorter than the base model's {retention.reference_length:.0f} "
            f"tokens in {', '.join(short)}: short answers were learnt as a manner, which may be most of an arm's "
            "effect; add tasks with long answers, or shorten the primer"
        )
    worse = [
        f"{difference.arm} ({difference.loss.value:+.2f})"
        for difference in retention.differences
        if difference.control == "start" and difference.loss.low > 0
    ]
    if worse:
        doubts.append(
            f"the base model's answers are less likely than under the start, in nats per token, in {', '.join(worse)}; "
            "lower branch.learning_rate or train for fewer epochs"
        )
    return tuple(doubts)
