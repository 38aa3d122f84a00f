from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.arms import Arm, Specifier, parse_arm, parse_arms
from training.config import Recipe
from training.errors import InputError
from training.mixture import Task
from training.partitions import PartitionRule
from training.start import PlacedModel


@pytest.mark.parametrize(
    ("name", "arm"),
    [
        ("base", Arm("base", untrained="base")),
        ("start", Arm("start", untrained="start")),
        ("joint", Arm("joint")),
        ("joint-0.5", Arm("joint-0.5", epochs=0.5)),
        ("joint-2", Arm("joint-2", epochs=2.0)),
        ("joint-equal-steps-4", Arm("joint-equal-steps-4", batch=4)),
        ("merit-1d", Arm("merit-1d", partition=PartitionRule("merit-1d", "pca"))),
        (
            "merit-3d-uniform",
            Arm("merit-3d-uniform", partition=PartitionRule("merit-3d", "pca", depth=3), uniform=True),
        ),
        ("raw-2d", Arm("raw-2d", partition=PartitionRule("raw-2d", "pca", matrix="gram", depth=2))),
        ("random-12", Arm("random-12", partition=PartitionRule("random-12", "random", groups=12))),
        ("random-2-s3", Arm("random-2-s3", partition=PartitionRule("random-2-s3", "random", groups=2, index=3))),
        ("mine", Arm("mine", partition=PartitionRule("mine", "given"))),
        ("mine-uniform", Arm("mine-uniform", partition=PartitionRule("mine", "given"), uniform=True)),
    ],
)
def test_every_form_of_arm_means_what_it_says(name: str, arm: Arm) -> None:
    assert parse_arm(name, {"mine": []}) == arm


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Joint",
        "joint-uniform",
        "base-uniform",
        "joint-",
        "joint--1",
        "joint-1e3",
        "joint-equal-steps-1",
        "mine",
        "-uniform",
        "joint-0",
        "joint-0.0",
        "merit-0d",
        "merit-12d",
        "merit-d",
        "raw-0d",
        "random-1",
        "random-0",
        "random-2-s",
        "merit-1d ",
        "joint-equal-steps-2-uniform",
        "random-2-uniform-uniform",
        "merit-1d-uniform+linear",
    ],
)
def test_an_arm_that_is_none_is_refused_by_name(name: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_arm(name, {})
    assert repr(name) in str(caught.value)


# --- specs ------------------------------------------------------------------------------------------------------------


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


@settings(max_examples=50)
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


@pytest.mark.parametrize("name", ["joint", "merit-1d", "random-2-s3", "mine-uniform"])
def test_a_split_cannot_take_a_name_that_means_another_arm(name: str) -> None:
    recipe = Recipe.model_validate({"mixture": {"tasks": ["reasoning_gym:gcd"]}, "splits": {name: [["a"], ["b"]]}})
    with pytest.raises(InputError, match=name):
        parse_arms(recipe)
