from pathlib import Path
from typing import Any

import pytest

from tests.training.branch_specs import make_spec
from training.branches.spec import BranchSpec, Share, load_spec
from training.config import BranchSettings
from training.errors import InputError
from training.run_directory import write_json

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
    "strata": (("a",), ("b",)),
    "share": {"index": 0, "of": 2, "seed": 0},
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
IGNORED = {"start_path", "mixture_path", "second_moments"}
IGNORED_SETTINGS = {"checkpoint_seconds", "second_moments"}


def test_the_lists_below_name_every_field() -> None:
    assert set(BranchSpec.model_fields) == set(OTHER_VALUES) | IGNORED | {"settings"}
    assert set(BranchSettings.model_fields) == set(OTHER_SETTINGS) | IGNORED_SETTINGS


def test_the_hash_ignores_where_files_are_how_often_they_are_saved_and_what_else_is_kept() -> None:
    settings = BranchSettings(batch_size=4, checkpoint_seconds=1.0, second_moments="rank-1")
    elsewhere = make_spec(start_path="/a", mixture_path="/b", settings=settings, second_moments="rank-1")
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


def test_a_spec_that_earlier_versions_could_write_keeps_its_name() -> None:
    assert make_spec().hash == "43297421a067"


def test_the_order_of_tasks_is_the_order_of_examples_and_so_another_branch() -> None:
    assert make_spec(tasks={"b": "22", "a": "11"}).hash != make_spec().hash


def test_a_spec_is_read_back_from_its_file_with_its_hash(tmp_path: Path) -> None:
    settings = BranchSettings(clip_norm=None, learning_rate=1 / 3)
    more = {"strata": (("a",), ("b",)), "share": Share(index=1, of=3, seed=5), "second_moments": "full"}
    spec = make_spec(tasks={"b": "22", "a": "11"}, settings=settings, **more)
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
