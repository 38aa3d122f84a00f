import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merit_theory.conflict import centred, estimate_conflicts
from merit_theory.partition import Partition, between_group_objective, pca_partition, swap_refined
from training.config import PartitionSettings
from training.conflicts.measure import MeasuredConflicts
from training.conflicts.partition_rules import RULE_FORMS, PartitionRule, parse_rule
from training.conflicts.partitions import make_partitions
from training.errors import InputError
from training.run_directory import RunDirectory, read_json

BY_GRADIENTS = (
    "merit-1d",
    "merit-2d-swap",
    "raw-1d-swap",
    "kmeans-2",
    "kmeans-balanced-3",
    "conflict-induced-2",
    "conflict-induced-apart-3",
    "worst-2",
)


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
    splits = {rule.name: given or []}
    return make_partitions(RunDirectory(folder), [rule], conflicts, chosen, splits, seed)[rule]


def named(name: str) -> PartitionRule:
    rule = parse_rule(name, {})
    assert rule is not None
    return rule


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
    assert (record["matrix"], record["centre"], record["cut"], record["swapped_on"]) == (
        matrix,
        "double",
        "samples",
        None,
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


# --- rules by name ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("merit-2d", PartitionRule("merit-2d", "pca", depth=2)),
        ("raw-3d", PartitionRule("raw-3d", "pca", matrix="gram", depth=3)),
        ("merit-1d-swap", PartitionRule("merit-1d-swap", "pca", swap=True)),
        ("raw-1d-swap", PartitionRule("raw-1d-swap", "pca", matrix="gram", swap=True)),
        ("random-8", PartitionRule("random-8", "random", groups=8)),
        ("random-2-s3", PartitionRule("random-2-s3", "random", groups=2, index=3)),
        ("kmeans-12", PartitionRule("kmeans-12", "kmeans", groups=12)),
        ("kmeans-balanced-4", PartitionRule("kmeans-balanced-4", "kmeans-balanced", groups=4)),
        ("conflict-induced-2", PartitionRule("conflict-induced-2", "conflict-induced", groups=2)),
        ("conflict-induced-apart-2", PartitionRule("conflict-induced-apart-2", "conflict-induced-apart", groups=2)),
        ("worst-2", PartitionRule("worst-2", "worst", matrix="gram", groups=2)),
        ("mine", PartitionRule("mine", "given")),
    ],
)
def test_every_name_is_the_rule_it_says(name: str, rule: PartitionRule) -> None:
    assert parse_rule(name, {"mine": [["a"], ["b"]]}) == rule


@pytest.mark.parametrize("name", ["joint", "mine", "merit-12d", "merit-1d-swap-swap", "kmeans", "kmeans-balanced"])
def test_what_names_no_rule_is_none(name: str) -> None:
    assert parse_rule(name, {}) is None


@pytest.mark.parametrize("name", ["merit-0d", "random-1", "kmeans-1", "conflict-induced-apart-0", "worst-1"])
def test_a_number_that_is_too_small_is_refused_by_name(name: str) -> None:
    with pytest.raises(InputError, match=f"arm '{name}': the number must be at least"):
        parse_rule(name, {})


def test_every_form_that_is_advertised_is_parsed() -> None:
    for form in RULE_FORMS.split(", ")[:-1]:
        name = form.replace("SEED", "1").replace("[", "").replace("]", "").replace("-Nd", "-1d").replace("-K", "-2")
        assert parse_rule(name, {}) is not None, form


# --- rules that look at gradients -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_GRADIENTS)
def test_a_rule_on_gradients_says_how_stable_it_is_and_gives_the_same_again(tmp_path: Path, name: str) -> None:
    conflicts = measured(4, [3, 9, 4, 4, 8, 2, 5, 5, 6])
    rule = named(name)
    groups = divide(tmp_path, rule, conflicts)
    record = read_json(tmp_path / "partitions" / f"{name}.json")
    assert sorted(task for group in groups for task in group) == sorted(conflicts.tasks)
    assert len(groups) == (2**rule.depth if rule.kind == "pca" else rule.groups)
    assert (record["rule"], record["matrix"]) == (rule.kind, rule.matrix)
    assert len(record["flip_probability"]) == 9
    assert 0 <= record["same_partition"] <= 1
    assert divide(tmp_path, rule, conflicts) == groups
    assert read_json(tmp_path / "partitions" / f"{name}.json") == record


@pytest.mark.parametrize("name", ["merit-1d-swap", "kmeans-2", "kmeans-balanced-2"])
def test_rules_that_part_unlike_gradients_find_the_two_sides_and_without_noise_no_task_flips(
    tmp_path: Path, name: str
) -> None:
    groups = divide(tmp_path, named(name), measured(0, [5] * 8, noise=1e-3))
    assert sorted(map(sorted, groups)) == [["t0", "t2", "t4", "t6"], ["t1", "t3", "t5", "t7"]]
    record = read_json(tmp_path / "partitions" / f"{name}.json")
    assert record["flip_probability"] == [0.0] * 8
    assert record["rank"] == 1


@pytest.mark.parametrize("name", ["conflict-induced-2", "conflict-induced-apart-2", "worst-2"])
def test_rules_that_keep_unlike_gradients_together_put_half_of_each_side_in_each_group(
    tmp_path: Path, name: str
) -> None:
    for group in divide(tmp_path, named(name), measured(0, [5] * 8, noise=1e-3)):
        assert sorted(int(task[1:]) % 2 for task in group) == [0, 0, 1, 1]
    assert read_json(tmp_path / "partitions" / f"{name}.json")["rank"] > 100


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from(["merit", "raw"]))
def test_swaps_are_on_the_unnormalised_gram_matrix_whatever_the_cut_is_on(
    tmp_path_factory: pytest.TempPathFactory, seed: int, stem: str
) -> None:
    folder = tmp_path_factory.mktemp("run")
    conflicts = measured(seed, [5] * 10)
    # Tasks without camps and of different loudness, so that the two matrices ask for different swaps.
    rng = np.random.default_rng(seed)
    loud = np.exp(rng.standard_normal((10, 1, 1)))
    sums = tuple(
        (loud * (rng.standard_normal((10, 1, 40)) + 0.1 * rng.standard_normal((10, 6, 40)))).astype(np.float32)
    )
    estimate = estimate_conflicts(sums, conflicts.counts)
    conflicts = MeasuredConflicts(
        conflicts.tasks, estimate, sums, conflicts.counts, conflicts.train_tokens, conflicts.train_samples
    )
    source = estimate.cosine if stem == "merit" else estimate.gram
    cut = pca_partition(source, 1, centre="double", cut="count")
    expected = swap_refined(cut, centred(estimate.gram, "double"))
    groups = divide(folder, named(f"{stem}-1d-swap"), conflicts, cut="count", resamples=2)
    assert groups == [[conflicts.tasks[index] for index in group] for group in expected.groups]
    record = read_json(folder / "partitions" / f"{stem}-1d-swap.json")
    assert record["swapped_on"] == "centred gram"
    assert record["objective"] >= between_group_objective(cut, centred(estimate.gram, "double")) * (1 - 1e-12)


def test_every_partition_says_where_it_stands_among_random_ones(tmp_path: Path) -> None:
    conflicts = measured(2, [5] * 8)
    rules = [named("random-2"), PartitionRule("mine", "given"), named("merit-1d"), named("worst-2")]
    splits = {"mine": [["t0", "t2"], ["t1", "t3", "t4", "t5", "t6", "t7"]]}
    chosen = PartitionSettings(resamples=2)
    made = make_partitions(RunDirectory(tmp_path), rules, conflicts, chosen, splits, 0)
    gram = centred(conflicts.estimate.gram, "double")
    for rule in rules:
        record = read_json(tmp_path / "partitions" / f"{rule.name}.json")
        partition = Partition(tuple(tuple(map(conflicts.tasks.index, group)) for group in made[rule]))
        assert record["objective"] == pytest.approx(between_group_objective(partition, gram), rel=1e-9)
        assert record["random_objective"] == pytest.approx(np.trace(gram) / 7, rel=1e-9)
        assert 1 <= record["rank"] <= record["random_draws"] + 1
    ranks = [read_json(tmp_path / "partitions" / f"{name}.json")["rank"] for name in ("merit-1d", "worst-2")]
    assert ranks[0] < 20 < 180 < ranks[1]


def test_every_partition_says_how_many_training_samples_each_group_has(tmp_path: Path) -> None:
    conflicts = measured(2, [5, 11, 2, 9, 4, 3, 8, 6])
    rules = [named(name) for name in ("random-2", "merit-2d", "worst-2", "kmeans-balanced-2", "conflict-induced-2")]
    rules.append(PartitionRule("mine", "given"))
    splits = {"mine": [["t7", "t0"], ["t1", "t2", "t3", "t4", "t5", "t6"]]}
    made = make_partitions(RunDirectory(tmp_path), rules, conflicts, PartitionSettings(resamples=2), splits, 0)
    of = dict(zip(conflicts.tasks, conflicts.train_samples, strict=True))
    for rule, groups in made.items():
        samples = read_json(tmp_path / "partitions" / f"{rule.name}.json")["samples"]
        assert samples == [sum(of[task] for task in group) for group in groups]


def test_a_rule_gives_the_same_alone_and_among_others(tmp_path: Path) -> None:
    conflicts, rules = measured(3, [5] * 9, noise=2.0), [named(name) for name in BY_GRADIENTS]
    chosen = PartitionSettings(resamples=5)
    together = make_partitions(RunDirectory(tmp_path / "together"), rules, conflicts, chosen, {}, 0)
    for rule in rules:
        alone = make_partitions(RunDirectory(tmp_path / "alone"), [rule], conflicts, chosen, {}, 0)
        assert alone == {rule: together[rule]}
        first, second = (
            (tmp_path / side / "partitions" / f"{rule.name}.json").read_text() for side in ("alone", "together")
        )
        assert first == second


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "given", "complaint"),
    [
        (PartitionRule("merit-3d", "pca", depth=3), [], "merit-3d makes 8 groups of 4 tasks"),
        (PartitionRule("random-5", "random", groups=5), [], "random-5 makes 5 groups of 4 tasks"),
        (PartitionRule("kmeans-5", "kmeans", groups=5), [], "kmeans-5 makes 5 groups of 4 tasks"),
        (PartitionRule("c", "conflict-induced", groups=3), [], "c starts each of 3 groups with a pair, of 4 tasks"),
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
    PartitionRule("c", "conflict-induced", groups=2).check([], ["a", "b", "c", "d"])
