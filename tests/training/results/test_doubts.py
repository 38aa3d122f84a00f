from typing import Any

import pytest

from training.evaluation.noise import Interval
from training.evaluation.retention_results import Retention, RetentionDifference, RetentionResults
from training.results.doubts import (
    clipping_doubts,
    conflict_doubts,
    fit_doubts,
    merge_doubts,
    partition_doubts,
    retention_doubts,
    size_doubts,
)

SURE: dict[str, Any] = {
    "tasks": ["gcd", "lcm"],
    "reliability": [0.95, 0.9],
    "examples_for_reliability_0.95": [24, 51],
    "participation_ratio": [5e4, 6e4],
}
STABLE: dict[str, Any] = {
    "name": "merit-1d",
    "rule": "pca",
    "matrix": "cosine",
    "swapped_on": None,
    "same_partition": 0.99,
    "flip_probability": [0.0, 0.01],
    "adjusted_rand": {"none-double": 1.0},
    "rank": 3,
    "random_draws": 200,
}


def test_a_run_without_trouble_raises_no_doubt() -> None:
    assert conflict_doubts(SURE) == partition_doubts(STABLE, SURE["tasks"]) == []
    assert (
        clipping_doubts({"joint": 0.1})
        == merge_doubts("merit-1d", 0.2)
        == merge_doubts("joint", None)
        == merge_doubts("raw-1d", -1e-4)
        == []
    )


def test_an_unreliable_gradient_is_named_with_the_examples_that_would_help() -> None:
    (doubt,) = conflict_doubts(SURE | {"reliability": [0.95, 0.15], "examples_for_reliability_0.95": [24, 2668]})
    assert doubt.startswith("lcm: 15%")
    assert "2,668" in doubt


def test_a_gradient_without_signal_is_named_though_nothing_is_known_to_help() -> None:
    (doubt,) = conflict_doubts(SURE | {"reliability": [0.0, 0.9], "examples_for_reliability_0.95": [None, 51]})
    assert doubt.startswith("gcd: its gradient is indistinguishable from sampling noise")


def test_gradients_on_few_entries_are_named_together() -> None:
    (doubt,) = conflict_doubts(SURE | {"participation_ratio": [58.0, 52.0]})
    assert "gcd (58), lcm (52)" in doubt


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"same_partition": 0.07}, "7%"),
        ({"flip_probability": [0.45, 0.0]}, "gcd (45%)"),
        ({"adjusted_rand": {"none-rows": 1.0, "rows-double": 0.4}}, "rows-double"),
        ({"rank": 131}, "65% of random partitions"),
    ],
)
def test_an_unstable_split_says_what_moves_it(change: dict[str, Any], named: str) -> None:
    (doubt,) = partition_doubts(STABLE | change, SURE["tasks"])
    assert doubt.startswith("merit-1d")
    assert named in doubt


def test_a_partition_that_measures_nothing_raises_no_doubt() -> None:
    assert partition_doubts({"name": "random-2", "rule": "random"}, SURE["tasks"]) == []


def test_every_rule_on_gradients_can_be_unstable_but_only_some_mean_to_part_them() -> None:
    worst = {key: value for key, value in STABLE.items() if key != "adjusted_rand"} | {"rule": "worst", "rank": 201}
    assert partition_doubts(worst, SURE["tasks"]) == []
    (doubt,) = partition_doubts(worst | {"same_partition": 0.1}, SURE["tasks"])
    assert "10%" in doubt


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, True),
        ({"rule": "kmeans"}, True),
        ({"matrix": "gram"}, False),
        ({"swapped_on": "centred gram"}, False),
    ],
)
def test_norms_are_blamed_only_where_the_rule_left_them_out(change: dict[str, Any], said: bool) -> None:
    partition = {key: value for key, value in STABLE.items() if key != "swapped_on" or change.get("rule") != "kmeans"}
    (doubt,) = partition_doubts(partition | {"rank": 131} | change, SURE["tasks"])
    assert ("cosines leave the gradients' norms out" in doubt) == said


def test_groups_of_unlike_sizes_are_a_doubt_where_those_of_merit_are_alike() -> None:
    def sized(name: str, samples: list[int], **changes: Any) -> dict[str, Any]:
        return STABLE | {"name": name, "samples": samples, "groups": [[]] * len(samples)} | changes

    merit, other = sized("merit-1d", [40, 50]), sized("kmeans-balanced-2", [30, 60], rule="kmeans-balanced")
    (doubt,) = size_doubts([merit, other])
    assert doubt.startswith("kmeans-balanced-2: its largest group has 2.0 times the training samples of its smallest, ")
    assert "that of merit-1d 1.2 times" in doubt
    assert size_doubts([merit, sized("worst-2", [40, 60], rule="worst")]) == []
    assert size_doubts([sized("merit-1d", [20, 70]), other]) == []
    assert size_doubts([sized("merit-2d", [20, 20, 20, 30]), other]) == []
    assert size_doubts([sized("raw-1d", [40, 50], matrix="gram"), other]) == []
    assert size_doubts([sized("random-2", [40, 50], rule="random"), other]) == []
    swapped = sized("merit-1d-swap", [20, 70], swapped_on="centred gram")
    assert [doubt.split(":")[0] for doubt in size_doubts([swapped, other, merit])] == [
        "merit-1d-swap",
        "kmeans-balanced-2",
    ]


def test_a_merge_worse_than_its_branches_is_a_doubt() -> None:
    (doubt,) = merge_doubts("merit-1d", -1.078)
    assert "1.078 nats worse" in doubt


def test_a_limit_that_clips_most_steps_is_a_doubt() -> None:
    (doubt,) = clipping_doubts({"joint": 1.0, "random-2": 0.2})
    assert "joint (100%)" in doubt
    assert "random-2" not in doubt


def retention(lengths: dict[str, float], rises: dict[tuple[str, str], tuple[float, float]]) -> RetentionResults:
    """Arms with answers of these lengths, where the base model's are 100 tokens long, and intervals of differences."""
    at = Interval(1.0, 0.9, 1.1)
    differences = [
        RetentionDifference(arm, control, Interval((low + high) / 2, low, high), at, at)
        for (arm, control), (low, high) in rises.items()
    ]
    arms = {arm: Retention(at, at, Interval(length, length, length), 0.0) for arm, length in lengths.items()}
    return RetentionResults(8, 128, 100.0, 0.5, arms, tuple(differences))


def test_an_arm_that_retains_what_the_base_model_does_raises_no_doubt() -> None:
    rises = {("joint", "start"): (-0.1, 0.2), ("merit-1d", "start"): (-0.3, -0.1), ("merit-1d", "joint"): (0.1, 0.2)}
    assert retention_doubts(retention({"base": 100, "joint": 50, "merit-1d": 180}, rises)) == ()


def test_answers_of_less_than_half_the_length_are_a_doubt_that_names_the_arms() -> None:
    (doubt,) = retention_doubts(retention({"base": 100, "start": 15.6, "joint": 49.9, "merit-1d": 51}, {}))
    assert "the base model's 100 tokens in start (16), joint (50): " in doubt
    assert "merit-1d" not in doubt


def test_a_loss_on_general_answers_that_rises_beyond_noise_is_a_doubt_that_names_the_arms() -> None:
    rises = {("joint", "start"): (0.1, 0.3), ("merit-1d", "start"): (-0.1, 0.3), ("random-2", "joint"): (0.1, 0.3)}
    (doubt,) = retention_doubts(retention({"joint": 100, "merit-1d": 100}, rises))
    assert "joint (+0.20)" in doubt
    assert "merit-1d" not in doubt
    assert "random-2" not in doubt


def test_a_fit_that_ended_at_a_bound_is_no_optimum() -> None:
    fits = {"merit-1d+fitted": {"at_bound": False}, "joint@fitted": {"at_bound": True}}
    (doubt,) = fit_doubts(fits)
    assert doubt.startswith("joint@fitted: the fit ended where it may not go on")
    assert fit_doubts({"merit-1d+fitted": {"at_bound": False}}) == []
