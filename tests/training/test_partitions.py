import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merit_theory.conflict import estimate_conflicts
from merit_theory.partition import pca_partition
from training.config import PartitionSettings
from training.conflicts import MeasuredConflicts
from training.errors import InputError
from training.partitions import PartitionRule, make_partition
from training.run_directory import RunDirectory, read_json


def measured(seed: int, samples: list[int], noise: float = 0.3) -> MeasuredConflicts:
    """Tasks on two sides of one axis, in turn, each measured on six micro-batches."""
    rng = np.random.default_rng(seed)
    tasks, width = len(samples), 40
    means = rng.standard_normal((tasks, width)) + np.outer(2.0 * (-1.0) ** np.arange(tasks), np.ones(width))
    sums = tuple((mean + noise * rng.standard_normal((6, width))).astype(np.float32) for mean in means)
    counts = tuple(np.full(6, 5) for _ in samples)
    names = tuple(f"t{number}" for number in range(tasks))
    weights = np.array(samples)
    return MeasuredConflicts(names, estimate_conflicts(sums, counts), sums, counts, 7 * weights[::-1], weights)


def divide(
    folder: Path,
    rule: PartitionRule,
    conflicts: MeasuredConflicts,
    given: list | None = None,
    seed: int = 0,
    **settings: object,
) -> list[list[str]]:
    chosen = PartitionSettings.model_validate({"resamples": 10} | settings)
    return make_partition(RunDirectory(folder), rule, conflicts, chosen, given or [], seed)


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.sampled_from([1, 2]), st.sampled_from(["cosine", "gram"]))
def test_a_merit_partition_is_the_one_that_was_proved_things_about(
    tmp_path_factory: pytest.TempPathFactory, seed: int, depth: int, matrix: str
) -> None:
    folder = tmp_path_factory.mktemp("run")
    conflicts = measured(seed, [3, 9, 4, 4, 8, 2, 5, 5])
    rule = PartitionRule("mine", "pca", matrix=matrix, depth=depth)
    groups = divide(folder, rule, conflicts, cut="samples", centre="double")
    source = conflicts.estimate.gram if matrix == "gram" else conflicts.estimate.cosine
    expected = pca_partition(source, depth, centre="double", cut="samples", weights=conflicts.train_samples)
    assert groups == [[conflicts.tasks[index] for index in group] for group in expected.groups]
    assert len(groups) == 2**depth
    record = read_json(folder / "partitions" / "mine.json")
    assert record["groups"] == groups
    assert (record["matrix"], record["centre"], record["cut"], record["refine"]) == (
        matrix,
        "double",
        "samples",
        "none",
    )
    assert len(record["flip_probability"]) == 8
    assert np.shape(record["axes"]["coordinates"]) == (8, 2)
    assert all(0 <= share <= 1 + 1e-12 for share in [*record["axes"]["explained"], *record["flip_probability"]])


def test_opposite_tasks_are_parted_and_without_noise_no_task_flips(tmp_path: Path) -> None:
    groups = divide(tmp_path, PartitionRule("p", "pca"), measured(0, [5] * 6, noise=1e-3))
    assert sorted(map(sorted, groups)) == [["t0", "t2", "t4"], ["t1", "t3", "t5"]]
    record = read_json(tmp_path / "partitions" / "p.json")
    assert record["flip_probability"] == [0.0] * 6
    assert record["same_partition"] == record["mean_adjusted_rand"] == 1.0
    noisy = divide(tmp_path, PartitionRule("q", "pca"), measured(0, [5] * 6, noise=300.0))
    assert noisy
    assert max(read_json(tmp_path / "partitions" / "q.json")["flip_probability"]) > 0


def test_the_cut_weighs_what_it_says(tmp_path: Path) -> None:
    conflicts = measured(1, [100, 1, 1, 1, 1, 1, 1, 94])

    def imbalance(cut: str, weights: np.ndarray) -> int:
        groups = divide(tmp_path, PartitionRule("p", "pca"), conflicts, cut=cut)
        sums = [sum(weights[conflicts.tasks.index(task)] for task in group) for group in groups]
        return abs(int(sums[0] - sums[1]))

    assert imbalance("count", np.ones(8)) == 0
    for cut, weights in (("samples", conflicts.train_samples), ("tokens", conflicts.train_tokens)):
        assert imbalance(cut, weights) <= imbalance("count", weights)
    assert imbalance("samples", conflicts.train_samples) < imbalance("count", conflicts.train_samples)


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.integers(2, 6))
def test_a_random_partition_follows_from_seed_groups_and_index(
    tmp_path_factory: pytest.TempPathFactory, seed: int, groups: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    conflicts = measured(0, [5] * 12)

    def draw(index: int, root: int) -> list[list[str]]:
        return divide(folder, PartitionRule("r", "random", groups=groups, index=index), conflicts, seed=root)

    drawn = draw(0, seed)
    assert sorted(task for group in drawn for task in group) == sorted(conflicts.tasks)
    assert len(drawn) == groups
    assert draw(0, seed) == drawn
    assert any(draw(index, seed) != drawn for index in range(1, 6))
    assert any(draw(0, seed + other) != drawn for other in range(1, 6))


def test_given_groups_are_taken_as_they_are(tmp_path: Path) -> None:
    given = [["t2", "t0"], ["t1"], ["t3"]]
    rule = PartitionRule("mine", "given")
    rule.check(given, ["t0", "t1", "t2", "t3"])
    assert divide(tmp_path, rule, measured(0, [5] * 4), given) == given
    assert json.loads((tmp_path / "partitions" / "mine.json").read_text())["rule"] == "given"


@pytest.mark.parametrize(
    ("rule", "given", "complaint"),
    [
        (PartitionRule("merit-3d", "pca", depth=3), [], "merit-3d makes 8 groups of 4 tasks"),
        (PartitionRule("random-5", "random", groups=5), [], "random-5 makes 5 groups of 4 tasks"),
        (PartitionRule("mine", "given"), [["t0", "t1"], ["t2", "t3", "u"]], "splits.mine names 'u'"),
        (PartitionRule("mine", "given"), [["t0", "t1"], ["t2"]], "'t3' 0 times"),
        (PartitionRule("mine", "given"), [["t0", "t1"], ["t1", "t2", "t3"]], "'t1' 2 times"),
        (PartitionRule("mine", "given"), [["t0", "t1", "t2", "t3"], []], "empty group"),
        (PartitionRule("mine", "given"), [], "'t0' 0 times"),
    ],
)
def test_a_rule_that_cannot_divide_the_tasks_is_refused_before_anything_is_computed(
    rule: PartitionRule, given: list, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        rule.check(given, ["t0", "t1", "t2", "t3"])


def test_as_many_groups_as_tasks_are_allowed() -> None:
    PartitionRule("merit-2d", "pca", depth=2).check([], ["a", "b", "c", "d"])
    PartitionRule("random-4", "random", groups=4).check([], ["a", "b", "c", "d"])
