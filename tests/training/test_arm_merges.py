from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.training.branch_specs import make_spec
from training.arm_merges import ArmMerges
from training.arm_names import parse_arm
from training.config import Recipe
from training.intact import write_sealed
from training.launch.job import Job
from training.mixture import Mixture, Task
from training.run_directory import BranchDirectory, RunDirectory
from training.start import PlacedModel

TASKS = tuple(Task(name, Path(name), {}, "exact", {"validation": name}, {"train": 9, "validation": 4}) for name in "ab")
SPECS = [make_spec(tasks={name: name}) for name in "ab"]
DONE = {"sha256": "weights", "tokens": 100, "second_moments": {"form": "full", "sha256": "moments"}}


class Recorder:
    """A launcher that runs nothing."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}

    def run(self, title: str, jobs: list[Job]) -> list[Any]:
        for job in jobs:
            self.keys[title] = job.arguments.get("key") or job.arguments["merge"].key
        return [[0.5, 0.5] for _ in jobs]


def keys(
    folder: Path,
    arm: str,
    *,
    done: Mapping[str, Any] = DONE,
    start: str = "start",
    validation: str = "a",
    precision: str = "float32",
    optimizer: str = "adamw",
) -> dict[str, str]:
    """The keys that what an arm needs is asked for under, by the title of the jobs."""
    run = RunDirectory(folder)
    for spec in SPECS:
        write_sealed(BranchDirectory(run.branch(spec.hash)).done, done)
    recipe = Recipe.model_validate({"mixture": {"tasks": ["x"]}, "branch": {"optimizer": optimizer}})
    tasks = (Task("a", Path("a"), {}, "exact", {"validation": validation}, {"train": 9, "validation": 4}), TASKS[1])
    settings = recipe.start.model_copy(update={"precision": precision})
    launcher = Recorder()
    merges = ArmMerges(recipe, run, Mixture(tasks, ()), launcher, PlacedModel(start, "float32"), settings)
    merges.assemble([parse_arm(arm, {"mine": []})], {arm: SPECS})
    return launcher.keys


OTHER_WEIGHTS = {"done": DONE | {"sha256": "other"}}
OTHER_MOMENTS = {"done": DONE | {"second_moments": {"form": "rank-1", "sha256": "other"}}}
CASES: dict[str, tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]] = {
    "mine": ({"weights": OTHER_WEIGHTS}, {"moments": OTHER_MOMENTS, "start": {"start": "other"}}),
    "mine+task-arithmetic": ({"weights": OTHER_WEIGHTS, "start": {"start": "other"}}, {"moments": OTHER_MOMENTS}),
    "mine+ota": (
        {"weights": OTHER_WEIGHTS, "start": {"start": "other"}, "moments": OTHER_MOMENTS},
        {"rows": {"validation": "other"}},
    ),
    "mine+drift-corrected": (
        {"weights": OTHER_WEIGHTS, "moments": OTHER_MOMENTS, "arithmetic": {"precision": "float64"}},
        {"rows": {"validation": "other"}},
    ),
    "mine+fitted": (
        {
            "weights": OTHER_WEIGHTS,
            "start": {"start": "other"},
            "rows": {"validation": "other"},
            "arithmetic": {"precision": "float64"},
        },
        {"moments": OTHER_MOMENTS},
    ),
}
"""By arm: what has it made again when it changes, and what leaves it as it is."""


@pytest.mark.parametrize("arm", CASES)
def test_an_arm_is_made_again_when_what_it_depends_on_has_changed_and_only_then(tmp_path: Path, arm: str) -> None:
    first = keys(tmp_path, arm)
    asked = {"mine+drift-corrected": "drift", "mine+fitted": "fit"}.get(arm, "merge")
    matters, does_not = CASES[arm]
    for what, change in matters.items():
        assert keys(tmp_path, arm, **change)[asked] != first[asked], what
    for what, change in does_not.items():
        assert keys(tmp_path, arm, **change) == first, what


def test_a_drift_without_adam_depends_on_no_moments(tmp_path: Path) -> None:
    without = {key: value for key, value in DONE.items() if key != "second_moments"}
    assert set(keys(tmp_path, "mine+drift-corrected", done=without, optimizer="sgd")) == {"drift", "merge"}
