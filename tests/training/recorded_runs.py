"""Run directories that hold what a comparison reads and nothing else, with known differences between arms."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tomli_w

from training.keyed_file import save_keyed
from training.run_directory import RunDirectory, write_json, write_text

TASKS = ("a", "b", "c", "d")


def write_run(
    folder: Path,
    arms: Mapping[str, float],
    *,
    seed: int = 0,
    tasks: Sequence[str] = TASKS,
    per_task: int = 6,
    noise: float = 0.01,
    branches: Mapping[str, int] | None = None,
    generated: bool = True,
    recipe: Sequence[str] | None = None,
) -> Path:
    """Evaluations of ``arms``, given by name with the mean loss of each; the last task is an unseen one.

    ``branches`` says into how many groups the rules of arms divide; the recipe has these arms unless it is given.
    """
    rng = np.random.default_rng(seed)
    run = RunDirectory(folder)
    task = np.repeat(np.arange(len(tasks) + 1), per_task)
    tokens = rng.integers(1, 9, len(task))
    for arm, loss in arms.items():
        save_keyed(
            run.evaluation(arm),
            "key",
            tasks=np.array([*tasks, "unseen"]),
            outside=np.arange(len(tasks) + 1) == len(tasks),
            task=task,
            loss=tokens * (np.where(task == len(tasks), 10 * loss, loss) + rng.normal(0, noise, len(task))),
            tokens=tokens,
            correct=np.zeros_like(tokens),
            match=(rng.random(len(task)) < 1 - loss).astype(np.int8) if generated else np.full(len(task), -1, np.int8),
            answers=np.full(len(task), "x"),
        )
    write_text(run.config, tomli_w.dumps({"arms": list(arms if recipe is None else recipe)}))
    for arm, count in (branches or {}).items():
        write_json(run.partition(arm), {"groups": [[str(number)] for number in range(count)]})
    return folder
