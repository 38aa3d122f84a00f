"""What a report is about, from a run directory or from model folders given one by one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diagnostics.checkpoints import Checkpoints
from training.config import FileTask, MixtureSettings, Recipe, load_recipe
from training.errors import InputError
from training.mixture import Mixture, Task, freeze
from training.run_directory import BranchDirectory, ReportDirectory, RunDirectory, read_json

ROWS_FROM_FILES = {"test": 32, "calibration": 24}
"""Rows of each task that are kept apart for losses and for gradients where examples come from plain files."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Models, examples and arithmetic of one report.

    Attributes:
        title: what the report is called: the arm's name, or that of the merged model's folder.
        checkpoints: the models.
        tasks: the mixture's tasks.
        objective: a key of :data:`training.model.loss.OBJECTIVES`.
        precision: of the network's weights and of all arithmetic.
        trainable: patterns of the names of the parameters that were trained.
        max_length: longest example in tokens; None for the model's context.
        device: where the network is.
        run: the run that it comes from, if any.
    """

    title: str
    checkpoints: Checkpoints
    tasks: tuple[Task, ...]
    objective: str
    precision: str
    trainable: tuple[str, ...]
    max_length: int | None
    device: torch.device
    run: RunDirectory | None


def from_run(root: Path, arm: str | None) -> tuple[Subject, ReportDirectory]:
    """The merged arm ``arm`` of a finished run, by default the first of its recipe, and where its report goes.

    Raises:
        InputError: no run, no such arm, or an arm that merges nothing.
    """
    run = RunDirectory(root)
    if not run.config.is_file():
        raise InputError(f"{root} is no run directory: it has no config.toml; give one, or single models by --start …")
    recipe = load_recipe(str(run.config), [])
    name = arm or _first_merged(run, recipe)
    record = _arm_record(run, name)
    if len(record["branches"]) < 2:
        raise InputError(f"arm {name!r} of {root} merges nothing; choose one of {', '.join(_merged(run, recipe))}")
    branches = tuple(BranchDirectory(run.branch(spec)) for spec in record["branches"])
    steps = f"joint-equal-steps-{len(branches)}"
    references = {key: _model_of(run, key) for key in ("joint", steps)}
    trajectories = {f"branch-{number}": branch for number, branch in enumerate(branches, start=1)}
    for key, arm_name in (("joint", "joint"), ("joint-equal-steps", steps)):
        if references[arm_name] is not None:
            trajectories[key] = BranchDirectory(run.branch(_arm_record(run, arm_name)["branches"][0]))
    checkpoints = Checkpoints(
        start=run.start,
        branches=tuple(branch.model for branch in branches),
        weights=tuple(record["weights"]),
        merged=run.arm(name) / "model",
        joint=references["joint"],
        joint_equal_steps=references[steps],
        trajectories=trajectories,
    )
    subject = Subject(
        title=name,
        checkpoints=checkpoints,
        tasks=Mixture.load(run.mixture).tasks,
        objective=recipe.start.objective,
        precision="float64" if recipe.start.precision == "float64" else "float32",
        trainable=tuple(recipe.start.trainable),
        max_length=recipe.start.max_length,
        device=_device(recipe.resources.device),
        run=run,
    )
    return subject, run.report(name)


def from_folders(checkpoints: Checkpoints, data: str, out: Path) -> tuple[Subject, ReportDirectory]:
    """Models given one by one, and where their report goes.

    Args:
        checkpoints: the models.
        data: a frozen mixture (the ``mixture`` folder of a run), or files of rows as a recipe names them: a JSONL or
            Parquet file, a folder or a glob of them, a task each.
        out: folder of the report.

    Raises:
        InputError: data that cannot be read or have too few rows.
    """
    directory = ReportDirectory(out)
    subject = Subject(
        title=checkpoints.merged.name if checkpoints.merged.name != "model" else checkpoints.merged.parent.name,
        checkpoints=checkpoints,
        tasks=_tasks(data, directory),
        objective="cross-entropy",
        precision="float32",
        trainable=("*",),
        max_length=None,
        device=_device("auto"),
        run=None,
    )
    return subject, directory


def _tasks(data: str, directory: ReportDirectory) -> tuple[Task, ...]:
    if (Path(data) / "manifest.json").is_file():
        return Mixture.load(Path(data)).tasks
    files = MixtureSettings(tasks=[FileTask(source="file", path=data)], **ROWS_FROM_FILES)
    return freeze(files, 0, directory.mixture).tasks


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _arm_record(run: RunDirectory, name: str) -> dict[str, Any]:
    path = run.arm(name) / "arm.json"
    if not path.is_file():
        standing = sorted(entry.name for entry in (run.root / "arms").glob("*") if (entry / "arm.json").is_file())
        raise InputError(f"{run.root} has no arm {name!r}; it has {', '.join(standing) or 'none yet: finish the run'}")
    return read_json(path)


def _model_of(run: RunDirectory, arm: str) -> Path | None:
    folder = run.arm(arm) / "model"
    return folder if folder.is_dir() else None


def _merged(run: RunDirectory, recipe: Recipe) -> list[str]:
    standing = [name for name in recipe.arms if (run.arm(name) / "arm.json").is_file()]
    return [name for name in standing if len(_arm_record(run, name)["branches"]) > 1]


def _first_merged(run: RunDirectory, recipe: Recipe) -> str:
    merged = _merged(run, recipe)
    if not merged:
        raise InputError(f"{run.root} has no merged arm; finish the run, or add one such as merit-1d to its recipe")
    return merged[0]
