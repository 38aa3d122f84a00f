from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.branch_spec import BranchSpec, load_spec, step_indices
from training.config import BranchSettings
from training.errors import InputError
from training.run_directory import write_json


def make_spec(**changes: Any) -> BranchSpec:
    values = {
        "tasks": {"a": "11", "b": "22"},
        "split": "train",
        "start": "33",
        "trainable": ["*"],
        "objective": "cross-entropy",
        "precision": "float32",
        "max_length": None,
        "seed": 0,
        "examples": 20,
        "settings": BranchSettings(batch_size=4),
        "sketch_size": 64,
        "sketch_seed": 1,
    }
    return BranchSpec(**values | changes)


OTHER_VALUES = {
    "tasks": {"a": "11", "b": "23"},
    "split": "primer",
    "start": "34",
    "trainable": ["*norm*"],
    "objective": "squared-error",
    "precision": "float64",
    "max_length": 100,
    "seed": 1,
    "examples": 21,
    "sketch_size": 65,
    "sketch_seed": 2,
}
OTHER_SETTINGS = {
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "schedule": "linear",
    "warmup_fraction": 0.5,
    "final_fraction": 0.5,
    "epochs": 2.0,
    "batch_size": 5,
    "micro_batch_tokens": 7,
    "weight_decay": 0.5,
    "beta1": 0.5,
    "beta2": 0.5,
    "epsilon": 1e-3,
    "momentum": 0.5,
    "clip_norm": None,
    "packing": False,
    "compile": True,
    "gradient_checkpointing": True,
    "displacement_every": 3,
}
IGNORED = {"start_path", "mixture_path"}


def test_the_lists_below_name_every_field() -> None:
    assert set(BranchSpec.model_fields) == set(OTHER_VALUES) | IGNORED | {"settings"}
    assert set(BranchSettings.model_fields) == set(OTHER_SETTINGS) | {"checkpoint_seconds"}


def test_the_hash_ignores_where_files_are_and_how_often_they_are_saved() -> None:
    settings = BranchSettings(batch_size=4, checkpoint_seconds=1.0)
    elsewhere = make_spec(start_path="/a", mixture_path="/b", settings=settings)
    assert elsewhere.hash == make_spec().hash
    assert elsewhere.evaluation_name == f"branch-{make_spec().hash}"


def test_the_hash_ignores_nothing_else() -> None:
    changed = [make_spec(**{field: value}) for field, value in OTHER_VALUES.items()]
    changed += [
        make_spec(settings=BranchSettings(batch_size=4).model_copy(update={field: value}))
        for field, value in OTHER_SETTINGS.items()
    ]
    hashes = {spec.hash for spec in [make_spec(), *changed]}
    assert len(hashes) == 1 + len(OTHER_VALUES) + len(OTHER_SETTINGS)


def test_the_order_of_tasks_is_the_order_of_examples_and_so_another_branch() -> None:
    assert make_spec(tasks={"b": "22", "a": "11"}).hash != make_spec().hash


def test_a_spec_is_read_back_from_its_file_with_its_hash(tmp_path: Path) -> None:
    spec = make_spec(tasks={"b": "22", "a": "11"}, settings=BranchSettings(clip_norm=None, learning_rate=1 / 3))
    write_json(tmp_path / "spec.json", spec.model_dump())
    assert load_spec(tmp_path / "spec.json") == spec
    assert load_spec(tmp_path / "spec.json").hash == spec.hash


@pytest.mark.parametrize("value", [{}, [], {"tasks": {}}, make_spec().model_dump() | {"more": 1}])
def test_a_file_that_is_no_spec_is_refused_by_name(tmp_path: Path, value: Any) -> None:
    write_json(tmp_path / "spec.json", value)
    with pytest.raises(InputError, match=r"spec.json is not a branch spec"):
        load_spec(tmp_path / "spec.json")
    with pytest.raises(InputError, match=r"none.json is missing"):
        load_spec(tmp_path / "none.json")


# --- the order of the data --------------------------------------------------------------------------------------------

orders = st.tuples(st.integers(1, 12), st.integers(1, 40), st.integers(1, 15), st.integers(0, 2**62))


def stream(batch: int, seen: int, examples: int, seed: int) -> list[list[int]]:
    spec = make_spec(seed=seed, examples=seen, settings=BranchSettings(batch_size=batch))
    return [step_indices(spec, step, examples) for step in range(spec.steps)]


@settings(max_examples=100)
@given(orders)
def test_steps_tile_a_stream_of_permutations_without_a_gap(order: tuple[int, int, int, int]) -> None:
    batch, seen, examples, _ = order
    steps = stream(*order)
    assert all(len(step) == batch for step in steps[:-1])
    assert 1 <= len(steps[-1]) <= batch
    flat = [index for step in steps for index in step]
    assert len(flat) == seen
    for first in range(0, seen, examples):
        epoch = flat[first : first + examples]
        assert len(set(epoch)) == len(epoch)
        assert set(epoch) <= set(range(examples))
        assert len(epoch) == min(examples, seen - first)


@settings(max_examples=50)
@given(orders, st.integers(1, 12))
def test_the_stream_does_not_depend_on_how_it_is_cut_into_steps_or_how_long_it_runs(
    order: tuple[int, int, int, int], other_batch: int
) -> None:
    batch, seen, examples, seed = order
    flat = [index for step in stream(*order) for index in step]
    assert flat == [index for step in stream(other_batch, seen, examples, seed) for index in step]
    assert flat == [index for step in stream(batch, seen + 7, examples, seed) for index in step][:seen]


def test_epochs_and_seeds_differ() -> None:
    flat = [index for step in stream(4, 60, 20, 0) for index in step]
    epochs = {tuple(flat[first : first + 20]) for first in (0, 20, 40)}
    other = [index for step in stream(4, 60, 20, 1) for index in step]
    assert len(epochs | {tuple(other[:20])}) == 4
    assert tuple(range(20)) not in epochs
