"""The command ``harness``: which arms of the run, on which tasks, and what comes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from training.config import load_recipe
from training.errors import InputError
from training.harness.measure import HarnessSettings, evaluate_arm
from training.harness.page import markdown, terminal_table
from training.harness.scores import ScoreTable, score_tables
from training.harness.tasks import load_benchmarks
from training.model.load import resolve_precision
from training.progress import Progress
from training.run_directory import RunDirectory, write_json, write_text


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for.

    Attributes:
        tasks: tasks, groups or tags of lm-eval, or patterns.
        arms: names; empty for the recipe's that have a model.
        limit: first items of each task that are taken; None for all.
        batch_size: requests in one pass.
        include_path: folder of further task files.
        chat_template: put the questions as messages of a chat.
    """

    tasks: Sequence[str]
    arms: Sequence[str]
    limit: int | None
    batch_size: int
    include_path: Path | None
    chat_template: bool


def run_harness(root: Path, asked: Asked, console: Console) -> tuple[ScoreTable, ...]:
    """Evaluate the arms on the tasks, write ``evaluation/harness``, print a table per metric, and return the tables.

    Raises:
        InputError: no run, no such arm or task, lm-eval is not installed, or the data of a task are not to be had.
    """
    run = RunDirectory(root)
    if not run.config.is_file():
        raise InputError(f"{root} is no run directory: it has no config.toml; give one that `training run` wrote")
    recipe = load_recipe(str(run.config), [])
    folders = _chosen(run, recipe.arms, asked.arms)
    if not asked.tasks:
        raise InputError("--tasks is empty; name tasks of lm-eval, as in --tasks arc_easy,mmlu")
    console.print("reading lm-eval's tasks and their data")
    benchmarks, tasks = load_benchmarks(asked.tasks, asked.include_path)
    device = torch.device(_device(recipe.resources.device))
    settings = HarnessSettings(
        limit=asked.limit,
        chat_template=asked.chat_template,
        batch_size=asked.batch_size,
        precision=resolve_precision(recipe.start.precision, device),
        device=device,
    )
    keys = {name: task.key(asked.limit) for name, task in tasks.items()}
    progress = Progress(console)
    measured = {arm: evaluate_arm(run, arm, folder, tasks, keys, settings, progress) for arm, folder in folders.items()}
    tables = score_tables(benchmarks, measured, recipe.evaluation.bootstrap, recipe.seed)
    write_json(run.harness_table(".json"), [table.as_json() for table in tables])
    write_text(run.harness_table(".md"), markdown(tables, settings.described))
    for table in tables:
        console.print(terminal_table(table))
    console.print(f"Items, settings and differences as sentences: {run.harness_table('.md')}")
    return tables


def _chosen(run: RunDirectory, listed: Sequence[str], asked: Sequence[str]) -> dict[str, Path]:
    """Model folders of the arms asked for, or else of the recipe's, by name.

    The untouched model, the start, and arms of an earlier recipe are there to be asked for.
    """
    there = {name: folder for name, folder in (("base", run.base), ("start", run.start)) if folder.is_dir()}
    assembled = [name for name in listed if (run.arm(name) / "arm.json").is_file()]
    others = sorted({record.parent.name for record in (run.root / "arms").glob("*/arm.json")} - {*assembled})
    there |= {name: run.arm(name) / "model" for name in (*assembled, *others)}
    if not there:
        raise InputError(f"{run.root} has no model yet; finish the run")
    for name in asked:
        if name not in there:
            raise InputError(f"{run.root} has no arm {name!r}; it has {', '.join(there)}")
    chosen = asked or [name for name in listed if name in there]
    if not chosen:
        raise InputError(f"{run.root} has no model of its recipe's arms yet; finish the run or name one with --arm")
    return {name: folder for name, folder in there.items() if name in chosen}


def _device(name: str) -> str:
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("resources.device is 'cuda' and no CUDA device is visible; use 'auto' or 'cpu'")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
