from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.arms.names import parse_arm
from training.arms.specifier import Specifier, keeping_second_moments
from training.branches.spec import BranchSpec, Share
from training.config import Recipe
from training.mixture import Task
from training.model.start import PlacedModel


def specifier(counts: dict[str, int], **branch: float) -> Specifier:
    tasks = {
        name: Task(
            name,
            Path(name),
            {},
            "exact",
            {"train": f"hash {name}", "primer": f"p {name}"},
            {"train": rows, "primer": 2},
        )
        for name, rows in counts.items()
    }
    recipe = Recipe.model_validate(
        {"mixture": {"tasks": ["x"]}, "branch": branch, "primer": {"epochs": 3.0, "learning_rate": 0.5}, "seed": 9}
    )
    return Specifier(recipe, tasks, PlacedModel("start", "float32"), sketch_seed=7)


@settings(max_examples=30)
@given(st.integers(2, 5), st.integers(1, 60), st.integers(1, 20), st.integers(1, 3))
def test_joint_equal_steps_takes_the_steps_of_one_of_k_equal_branches(
    k: int, rows: int, batch: int, epochs: int
) -> None:
    make = specifier({f"t{number}": rows for number in range(k)}, batch_size=batch, epochs=epochs)
    joint = make.branch(list(make.tasks), epochs=1.0, batch=k)
    branches = [make.branch([name], epochs=1.0, batch=1) for name in make.tasks]
    assert {branch.steps for branch in branches} == {joint.steps}
    assert joint.examples == sum(branch.examples for branch in branches) == k * rows * epochs
    plain = make.branch(list(make.tasks), epochs=1.0, batch=1)
    assert plain.steps >= joint.steps


@settings(max_examples=30)
@given(st.lists(st.integers(1, 50), min_size=2, max_size=6), st.integers(1, 100), st.floats(0.01, 4))
def test_a_branch_sees_its_share_of_its_tasks_in_batches_no_larger_than_its_data(
    counts: list[int], batch: int, epochs: float
) -> None:
    make = specifier({f"t{number}": rows for number, rows in enumerate(counts)}, batch_size=batch, epochs=1.5)
    group = list(make.tasks)[1:]
    spec = make.branch(group[::-1], epochs=epochs, batch=1)
    rows = sum(counts[1:])
    assert list(spec.tasks.items()) == [(name, f"hash {name}") for name in group]
    assert spec.settings.batch_size == min(batch, rows)
    assert abs(spec.examples - 1.5 * epochs * rows) <= max(0.5, 1 - 1.5 * epochs * rows)
    assert spec.examples >= 1
    assert (spec.seed, spec.start, spec.precision, spec.sketch_seed) == (9, "start", "float32", 7)


def test_full_batch_descent_takes_one_step_per_epoch() -> None:
    make = specifier({"a": 5, "b": 9}, batch_size=1000, epochs=4)
    assert make.branch(["a"], epochs=1.0, batch=1).steps == 4
    assert make.branch(["a", "b"], epochs=1.0, batch=2).steps == 4


def test_arms_with_the_same_branch_share_its_hash() -> None:
    make = specifier({"a": 5, "b": 9}, batch_size=2)
    assert make.branch(["a", "b"], epochs=1.0, batch=1).hash == make.branch(["b", "a"], epochs=1.0, batch=1).hash
    assert make.branch(["a"], epochs=1.0, batch=1).hash != make.branch(["b"], epochs=1.0, batch=1).hash


def test_the_primer_is_all_tasks_own_slices_from_the_base_with_its_own_settings() -> None:
    make = specifier({"a": 5, "b": 9}, batch_size=3, momentum=0.25)
    primer = make.primer()
    assert (primer.split, primer.start_path, primer.tasks) == ("primer", "../../base", {"a": "p a", "b": "p b"})
    assert (primer.examples, primer.settings.learning_rate, primer.settings.momentum) == (12, 0.5, 0.25)


def branches(make: Specifier, name: str, groups: list[list[str]] | None = None) -> list[BranchSpec]:
    return make.branches(parse_arm(name, {}), groups or [])


def test_an_arm_that_only_merges_otherwise_trains_nothing_more() -> None:
    make, groups = specifier({"a": 5, "b": 9}, batch_size=2), [["b"], ["a"]]
    plain = branches(make, "merit-1d", groups)
    assert [list(spec.tasks) for spec in plain] == [["b"], ["a"]]
    for ending in ("-uniform", "+ties", "+ota@fitted", "@0.5"):
        assert branches(make, f"merit-1d{ending}", groups) == plain
    assert branches(make, "base") == branches(make, "start") == []
    assert branches(make, "joint@0.5", groups) == branches(make, "joint") == [make.branch(["a", "b"])]


@settings(max_examples=30)
@given(st.integers(2, 5), st.integers(1, 60), st.integers(1, 20))
def test_a_stratified_joint_branch_takes_the_steps_and_examples_of_joint_equal_steps(
    k: int, rows: int, batch: int
) -> None:
    make = specifier({f"t{number}": rows for number in range(k)}, batch_size=batch)
    groups = [[name] for name in make.tasks]
    (stratified,) = branches(make, f"joint-stratified-random-{k}", groups)
    (equal,) = branches(make, f"joint-equal-steps-{k}")
    assert stratified.strata == tuple((name,) for name in make.tasks)
    assert stratified.model_copy(update={"strata": ()}) == equal
    assert stratified.hash != equal.hash


def test_larger_soups_hold_the_smaller_ones_branches() -> None:
    make = specifier({"a": 5, "b": 7}, batch_size=2, epochs=2)
    two, three, joint = (branches(make, name) for name in ("soup-2", "soup-3", "joint"))
    assert [spec.hash for spec in two] == [spec.hash for spec in three[:2]]
    assert len({spec.hash for spec in (*three, *joint)}) == 4
    assert {spec.examples for spec in (*three, *joint)} == {24}


def test_the_parts_of_a_split_soup_cost_together_what_joint_training_does() -> None:
    make = specifier({"a": 5, "b": 7}, batch_size=2, epochs=2)
    for count in (2, 3, 4):
        split, full = branches(make, f"soup-split-{count}"), branches(make, f"soup-{count}")
        assert [spec.examples for spec in split] == [24 // count] * count
        assert [spec.seed for spec in split] == [spec.seed for spec in full]
        assert len({spec.hash for spec in (*split, *full)}) == 2 * count


@settings(max_examples=30)
@given(st.lists(st.integers(4, 30), min_size=1, max_size=4), st.integers(2, 4), st.integers(1, 40))
def test_shares_see_together_what_joint_training_sees_once(counts: list[int], of: int, batch: int) -> None:
    make = specifier({f"t{number}": rows for number, rows in enumerate(counts)}, batch_size=batch)
    specs = branches(make, f"iid-{of}")
    assert sum(spec.examples for spec in specs) == sum(counts)
    assert [spec.share for spec in specs] == [Share(index=index, of=of, seed=9) for index in range(of)]
    assert len({spec.seed for spec in specs}) == of, "in one order all branches would see the same tasks at every step"
    assert len({spec.hash for spec in specs}) == of
    assert all(spec.settings.batch_size == min(batch, spec.examples) for spec in specs)


@pytest.mark.parametrize("form", ["full", "rank-1"])
def test_a_shared_branch_keeps_its_second_moments_if_any_arm_reads_them(form: str) -> None:
    make, groups = specifier({"a": 5, "b": 9}, second_moments=form), [["a"], ["b"]]
    arms = [parse_arm(name, {}) for name in ("base", "joint", "merit-1d", "merit-1d+ties", "merit-1d+ota", "soup-2")]
    plain = {arm.name: make.branches(arm, groups) for arm in arms}
    kept = keeping_second_moments(arms, plain)
    found = {name: {spec.second_moments for spec in specs} for name, specs in kept.items()}
    merit = {name: {form} for name in ("merit-1d", "merit-1d+ties", "merit-1d+ota")}
    assert found == {"base": set(), "joint": {"none"}, "soup-2": {"none"}} | merit
    assert {name: [spec.hash for spec in specs] for name, specs in kept.items()} == {
        name: [spec.hash for spec in specs] for name, specs in plain.items()
    }
    assert keeping_second_moments(arms[:4], {arm.name: plain[arm.name] for arm in arms[:4]}) == {
        arm.name: plain[arm.name] for arm in arms[:4]
    }
