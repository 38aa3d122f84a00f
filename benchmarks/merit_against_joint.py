"""The whole MERIT arm against joint training on the same machine: wall-clock, tokens, and what of it is not training.

Each arm is one run of the recipe through the command line, in a fresh run directory: ``joint`` with one worker that has
all cores, ``merit-1d`` with a worker of one thread per core. Counted is everything up to the finished model: what joint
training needs of it (mixture, start, branches) and what MERIT adds (conflicts, partitions, merge). Evaluation, the same
for both, is left out.

    .venv/bin/python -m benchmarks.merit_against_joint
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.record import record
from training.environment import usable_cores
from training.run_directory import RunDirectory, read_json

STAGES = {
    "joint": ("mixture", "start", "branches"),
    "merit-1d": ("mixture", "start", "conflicts", "partitions", "branches", "merge"),
}
TRAINING = ("start", "branches")


def run_arm(arm: str, recipe: str, settings: list[str], out: Path) -> dict[str, Any]:
    """Run the recipe with one arm; seconds by stage up to the finished model, and its cost."""
    cores = usable_cores()
    workers, threads = (1, cores) if arm == "joint" else (cores, 1)
    changes = [
        f'arms=["{arm}"]',
        f"resources.workers={workers}",
        f"resources.threads={threads}",
        "evaluation.generate=0",
        "evaluation.branches=false",
        *settings,
    ]
    command = [sys.executable, "-m", "training", "run", recipe, "--out", str(out)]
    command += [part for change in changes for part in ("--set", change)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    summary = read_json(RunDirectory(out).summary(".json"))
    (row,) = summary["arms"]
    seconds = {stage: summary["stage_seconds"][stage] for stage in STAGES[arm]}
    total = sum(seconds.values())
    return {
        "seconds_by_stage": seconds,
        "seconds": round(total, 1),
        "not_training_percent": round(100 * (1 - sum(seconds[stage] for stage in TRAINING) / total), 1),
        "training_tokens": row["tokens"],
        "training_tokens_per_second": round(row["tokens"] / total, 1),
        "steps": row["steps"],
        "loss": row["loss"],
    }


def compare(recipe: str, settings: list[str], rounds: int) -> dict[str, Any]:
    """Both arms in turn for several rounds; the medians by total time are reported with the ratio of every round."""
    runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in STAGES}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for arm, results in runs.items():
                results.append(run_arm(arm, recipe, settings, Path(folder) / f"{arm}-{number}"))
    ratios = [merit["seconds"] / joint["seconds"] for joint, merit in zip(*runs.values(), strict=True)]
    branches = [
        merit["seconds_by_stage"]["branches"] / joint["seconds_by_stage"]["branches"]
        for joint, merit in zip(*runs.values(), strict=True)
    ]
    return {
        "recipe": recipe,
        "settings": settings,
        "rounds": rounds,
        "cores": usable_cores(),
        "arms": {
            arm: sorted(results, key=lambda result: result["seconds"])[rounds // 2] for arm, results in runs.items()
        },
        "merit / joint": {
            "seconds": round(median(ratios), 2),
            "seconds of the branches stage": round(median(branches), 2),
            "training tokens": runs["merit-1d"][0]["training_tokens"] / runs["joint"][0]["training_tokens"],
        },
    }


def main() -> None:
    """Compare on a recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    record("merit_against_joint", compare(arguments.recipe, arguments.settings, arguments.rounds))


if __name__ == "__main__":
    main()
