"""The tasks that benchmarks train and measure on, and the branch that trains on them."""

from pathlib import Path
from typing import Any

import torch

from training.branches.spec import BranchSpec
from training.config import BranchSettings, MixtureSettings, load_recipe
from training.mixture import freeze
from training.model.load import resolve_precision
from training.run_directory import folder_hash

BESIDE_THE_DEMO = ("simple_equations", "count_bits", "letter_counting", "aiw")


def demo_tasks() -> list[str]:
    """Names of the demo's tasks."""
    return [str(task.name) for task in load_recipe("demo", []).mixture.tasks]


def branch_of_demo_tasks(
    folder: Path, start: Path, device: torch.device, steps: int, settings: BranchSettings
) -> BranchSpec:
    """Freeze as many rows of the demo's tasks in ``folder`` as the steps see, each once, and specify the branch."""
    rows = -(-steps * settings.batch_size // len(demo_tasks()))
    tasks: list[Any] = [f"reasoning_gym:{name}" for name in demo_tasks()]
    mixture = freeze(MixtureSettings(tasks=tasks, train=rows, calibration=2, test=1), 0, folder / "mixture")
    return BranchSpec(
        tasks={task.name: task.hashes["train"] for task in mixture.tasks},
        split="train",
        start=folder_hash(start),
        trainable=["*"],
        objective="cross-entropy",
        precision=resolve_precision("auto", device),
        max_length=None,
        seed=0,
        examples=steps * settings.batch_size,
        settings=settings,
        sketch_size=65_536,
        sketch_seed=0,
        start_path=str(start),
        mixture_path=str(folder / "mixture"),
    )
