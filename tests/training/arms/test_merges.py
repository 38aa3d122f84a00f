"""What arms are merged from, and that everything that changes a merge, a fit or a drift changes its key."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.training.branch_specs import make_spec
from training.arms.merges import ArmMerges, Merge
from training.arms.names import parse_arms
from training.config import Recipe
from training.intact import write_sealed
from training.launch.job import Job
from training.merge.operators.drift_corrected import DriftCorrected
from training.merge.operators.task_arithmetic import TaskArithmetic
from training.merge.operators.ties import Ties
from training.mixture import Mixture, Task
from training.model.start import PlacedModel
from training.run_directory import BranchDirectory, RunDirectory

ARMS = [
    "joint",
    "merit-1d",
    "merit-1d-uniform",
    "merit-1d+ties",
    "merit-1d+ota",
    "merit-1d+drift-corrected",
    "merit-1d+fitted",
    "merit-1d@0.5",
    "merit-1d+ties@fitted",
]


class Recorder:
    """A launcher that keeps the jobs; fits find 0.25 for every model, and what is assembled gets a record."""

    def __init__(self, run: RunDirectory) -> None:
        self.run_directory, self.jobs = run, dict[str, list[Job]]()

    def run(self, title: str, jobs: list[Job]) -> list[Any]:
        self.jobs.setdefault(title, []).extend(jobs)
        if title == "fit":
            return [[0.25] * len(job.arguments["folders"]) for job in jobs]
        if title == "merge":
            for job in jobs:
                record = {"key": job.arguments["merge"].key, "sha256": f"of {job.arguments['merge'].key}"}
                write_sealed(self.run_directory.arm(job.arguments["name"]) / "arm.json", record)
        return [None] * len(jobs)


Case = dict[str, Any]


def case() -> Case:
    return {
        "shas": ("11", "22"),
        "tokens": (300, 100),
        "moments": ("aa", "bb"),
        "start": "33",
        "precision": "float32",
        "validation": "44",
        "density": 0.2,
    }


def assemble(folder: Path, given: Case) -> tuple[dict[str, Merge], dict[str, str], dict[str, str]]:
    """The merges of all arms by name, and the keys of fits and drifts."""
    run = RunDirectory(folder)
    recipe = Recipe.model_validate(
        {
            "arms": ARMS,
            "mixture": {"tasks": ["reasoning_gym:gcd"], "validation": 8},
            "operators": {"ties": {"density": given["density"]}},
        }
    )
    specs = [make_spec(seed=seed) for seed in range(2)]
    for spec, sha256, tokens, moments in zip(specs, given["shas"], given["tokens"], given["moments"], strict=True):
        done = {"sha256": sha256, "tokens": tokens, "second_moments": {"sha256": moments}}
        write_sealed(BranchDirectory(run.branch(spec.hash)).done, done)
    task = Task("a", folder, {}, "exact", {"validation": given["validation"]}, {"validation": 8, "train": 20})
    arms = parse_arms(recipe)
    launcher = Recorder(run)
    settings = recipe.start.model_copy(update={"precision": given["precision"]})
    merges = ArmMerges(recipe, run, Mixture((task,), ()), launcher, PlacedModel(given["start"], "float32"), settings)
    merges.assemble(arms, {arm.name: specs[: 1 if arm.name == "joint" else 2] for arm in arms})
    jobs = launcher.jobs
    made = {job.arguments["name"]: job.arguments["merge"] for job in jobs["merge"]}
    fits, drifts = ({job.title: job.arguments["key"] for job in jobs[title]} for title in ("fit", "drift"))
    return made, fits, drifts


def keys(folder: Path, given: Case) -> dict[str, str]:
    merges, fits, drifts = assemble(folder, given)
    named = {f"merge {name}": merge.key for name, merge in merges.items()}
    return (
        named | {f"fit {name}": key for name, key in fits.items()} | {f"drift {name}": k for name, k in drifts.items()}
    )


def test_each_arm_is_merged_from_what_its_name_says(tmp_path: Path) -> None:
    merges, fits, drifts = assemble(tmp_path, case())
    run = RunDirectory(tmp_path)
    branches = [BranchDirectory(run.branch(make_spec(seed=seed).hash)).model for seed in range(2)]
    assert list(merges) == ["joint", *ARMS[1:7], "merit-1d@0.5", "merit-1d+ties@fitted"]
    assert fits.keys() == {"merit-1d+fitted", "merit-1d+ties@fitted"}
    assert drifts.keys() == {"merit-1d+drift-corrected"}
    assert merges["joint"].models == (branches[0],)
    assert merges["merit-1d"].weights == merges["merit-1d"].average == (0.75, 0.25)
    assert merges["merit-1d-uniform"].weights == (0.5, 0.5)
    assert (merges["merit-1d+ties"].operator, merges["merit-1d+ties"].weights) == (Ties(), None)
    assert merges["merit-1d+fitted"].operator == TaskArithmetic(factors=(0.25, 0.25))
    assert merges["merit-1d@0.5"].operator == TaskArithmetic(scale=0.5)
    assert merges["merit-1d@0.5"].models == (run.arm("merit-1d") / "model",)
    assert merges["merit-1d+ties@fitted"].models == (run.arm("merit-1d+ties") / "model",)
    assert merges["merit-1d+ties@fitted"].operator == TaskArithmetic(scale=0.25)
    assert merges["merit-1d+drift-corrected"].operator == DriftCorrected(drift=run.drift("merit-1d+drift-corrected"))


def changed(tmp_path: Path, **values: object) -> set[str]:
    before, after = keys(tmp_path / "before", case()), keys(tmp_path / "after", case() | values)
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


EVERYTHING = {f"merge {name}" for name in ARMS} | {
    "fit merit-1d+fitted",
    "fit merit-1d+ties@fitted",
    "drift merit-1d+drift-corrected",
}
READ_THE_START = {f"merge {name}" for name in ("merit-1d+ties", "merit-1d+ota", "merit-1d+fitted", "merit-1d@0.5")}
READ_THE_START |= {"merge merit-1d+ties@fitted", "fit merit-1d+fitted", "fit merit-1d+ties@fitted"}
READ_MOMENTS = {"merge merit-1d+ota", "merge merit-1d+drift-corrected", "drift merit-1d+drift-corrected"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"shas": ("99", "22")}, EVERYTHING),
        ({"start": "99"}, READ_THE_START),
        ({"moments": ("aa", "99")}, READ_MOMENTS),
        (
            {"tokens": (100, 100)},
            READ_MOMENTS - {"merge merit-1d+ota"} | {"merge merit-1d", "merge merit-1d@0.5", "fit merit-1d+fitted"},
        ),
        ({"validation": "99"}, {"fit merit-1d+fitted", "fit merit-1d+ties@fitted"}),
        (
            {"precision": "float64"},
            {"fit merit-1d+fitted", "fit merit-1d+ties@fitted"} | READ_MOMENTS - {"merge merit-1d+ota"},
        ),
        (
            {"density": 0.1},
            {"merge merit-1d+ties", "merge merit-1d+ties@fitted", "fit merit-1d+ties@fitted"},
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_key_changes_with_what_decides_the_weights_and_with_nothing_else(
    tmp_path: Path, values: Mapping[str, object], expected: set[str]
) -> None:
    assert changed(tmp_path, **values) == expected


@pytest.mark.parametrize("revised", ["FIT_REVISION", "DRIFT_REVISION"])
def test_another_revision_of_a_pass_makes_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revised: str
) -> None:
    before = keys(tmp_path, case())
    monkeypatch.setattr(f"training.arms.merges.{revised}", -1)
    differ: Callable[[str], bool] = lambda name: before[name] != after[name]  # noqa: E731
    after = keys(tmp_path, case())
    kind = revised.split("_")[0].lower()
    assert {name for name in before if name.startswith(kind)} == {
        name for name in filter(differ, before) if "merge" not in name
    }


def test_another_revision_of_an_operator_merges_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(tmp_path, case())
    monkeypatch.setattr(Ties, "revision", 2)
    after = keys(tmp_path, case())
    assert before["merge merit-1d+ties"] != after["merge merit-1d+ties"]
    assert before["merge merit-1d+ota"] == after["merge merit-1d+ota"]
