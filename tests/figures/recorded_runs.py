"""Run directories as a finished run leaves them, with numbers that are drawn and not measured."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.run_directory import BranchDirectory, RunDirectory, write_json, write_text

TASKS = ("gcd", "coin_flip", "a_task_with_a_name_that_is_quite_long")
SMALL = ("base", "start", "joint", "joint-equal-steps-2", "merit-1d", "random-2")
RECIPE = Path("training/recipes/all-arms.toml")


def all_arms() -> tuple[str, ...]:
    """The arms of the recipe that has one of every kind."""
    return tuple(tomllib.loads(RECIPE.read_text())["arms"])


def interval(rng: np.random.Generator, value: float) -> dict[str, float]:
    low, high = rng.uniform(0.01, 0.1, 2)
    return {"value": value, "low": value - low, "high": value + high}


def branches_of(arm: str) -> int:
    if arm in ("base", "start") or arm.startswith("joint"):
        return int(arm not in ("base", "start"))
    digits = "".join(character for character in arm.partition("+")[0].partition("@")[0] if character.isdigit())
    return 2 ** int(digits[0]) if arm.startswith(("merit", "raw")) else int(digits[0])


def arm_row(arm: str, rng: np.random.Generator, generated: bool) -> dict[str, Any]:
    count = branches_of(arm)
    loss = interval(rng, 3.75 if arm == "base" else float(rng.uniform(1.3, 1.7)))
    gain = float(rng.uniform(-0.1, 0.3)) if count > 1 else None
    return {
        "arm": arm,
        "branches": count,
        "tokens": 0 if arm == "base" else 40_000 if arm == "joint-2" else 20_000,
        "steps": 0 if not count else 20 // count,
        "seconds": 50.0 * bool(count),
        "longest_seconds": 50.0 / max(count, 1),
        "displacement": float(rng.uniform(1, 4)) if count else None,
        "loss": loss,
        "branch_loss": None if gain is None else loss["value"] + gain,
        "gain": gain,
        "fitted": "fitted" in arm,
        "results": {
            "loss": loss["value"],
            "token_weighted_loss": float(rng.uniform(1, 2)),
            "accuracy": float(rng.uniform(0.4, 0.6)),
            "exact_match": float(rng.uniform(0, 0.4)) if generated else None,
            "unseen_loss": float(rng.uniform(2, 3)),
            "unseen_exact_match": None,
        },
    }


def cost(value: float, how: str = "measured", at_least: bool = False) -> dict[str, Any]:
    return {"value": value, "how": how, "formula": "as it may be", "at_least": at_least}


def method(name: str, machines: int, rng: np.random.Generator, how: str = "measured") -> dict[str, Any]:
    seconds = float(rng.uniform(50, 150))
    least = how == "computed"
    to_model = cost(seconds, how, least) if machines == 1 or least else cost(seconds + 40.0, "computed")
    return {
        "method": name,
        "machines": machines,
        "exchanged_bytes": cost(machines * 1e9, "computed"),
        "machine_bytes": cost(1e9, "computed"),
        "synchronisations": cost(int(machines > 1), "computed"),
        "peak_memory_bytes": cost(4.2e9, how),
        "training_seconds": cost(seconds, how, least),
        "machine_seconds": cost(seconds * machines, how, least),
        "seconds_to_model": None if name.endswith("+ota") else to_model,
        "extra_backward_passes": cost(48, how),
    }


def differences(arms: Sequence[str], rng: np.random.Generator) -> list[dict[str, Any]]:
    entries = []
    for arm in arms:
        plain = arm.partition("@")[0].partition("+")[0].removesuffix("-uniform")
        kinds = ("joint", "joint-equal-steps-2", "joint-stratified-merit-1d", "random-2", "random-2-s1", "iid-2", plain)
        controls = ["start"] if arm == "joint" else [name for name in arms if name in kinds and name != arm]
        for control in controls if branches_of(arm) else []:
            loss = interval(rng, float(rng.normal(0, 0.1)))
            verdict = "inside the noise" if loss["low"] <= 0 <= loss["high"] else "lower"
            entries.append({"arm": arm, "control": control, "loss": loss, "verdict": verdict})
    return entries


def write_run(
    root: Path,
    arms: Sequence[str] = SMALL,
    *,
    tasks: Sequence[str] = TASKS,
    seed: int = 0,
    learning_rate: float = 1e-4,
    epochs: float = 1.0,
    generated: bool = True,
    with_cost: bool = True,
    retention: bool = False,
) -> RunDirectory:
    """A finished run; runs of other settings have other numbers."""
    rng = np.random.default_rng([seed, round(1e7 * learning_rate), round(10 * epochs), len(arms)])
    run = RunDirectory(root)
    names = ", ".join(f'"{arm}"' for arm in arms)
    recipe = [f"seed = {seed}", f"arms = [{names}]", "[start]", 'model = "smollm2-135m"', "[branch]"]
    recipe += ['optimizer = "adamw"', f"learning_rate = {learning_rate}", f"epochs = {epochs}", "[mixture]"]
    write_text(run.config, "\n".join(recipe) + "\n")
    write_json(run.mixture / "manifest.json", {"seed": seed, "tasks": [{"name": task} for task in tasks]})
    rows = [arm_row(arm, rng, generated) for arm in arms]
    stages = {"mixture": 2.0, "start": 52.6, "conflicts": 75.1, "partitions": 0.1, "branches": 276.8, "merge": 2.9}
    entry = {quantity: interval(rng, 1.0) for quantity in ("loss", "divergence", "length")}
    kept = {
        "prompts": 8,
        "limit": 48,
        "reference_length": 40.5,
        "reference_cut": 0.5,
        "arms": {arm: entry | {"cut": 0.25} for arm in arms},
        "differences": [{"arm": arm, "control": "joint"} | entry for arm in arms if arm not in SMALL[:3]],
    }
    summary = {
        "seed": seed,
        "arms": rows,
        "differences": differences(arms, rng),
        "groups": {},
        "retention": kept if retention else None,
        "doubts": [],
        "stage_seconds": stages,
    }
    write_json(run.summary(".json"), summary)
    write_json(run.environment, {"processor": "AMD EPYC", "cores": 2})
    write_json(
        run.evaluation_summary,
        {
            row["arm"]: row["results"]
            | {
                "tasks": {
                    task: {
                        "unseen": False,
                        "loss": float(rng.uniform(1, 2)),
                        "accuracy": 0.5,
                        "exact_match": float(rng.uniform()) if generated else None,
                    }
                    for task in tasks
                }
            }
            for row in rows
        },
    )
    if with_cost:
        trained = [method(row["arm"], row["branches"], rng) for row in rows if row["branches"]]
        beside = [method(name, 2, rng, "computed") for name in ("joint, data-parallel", "PCGrad", "GradNorm")]
        table = {
            "methods": trained + beside,
            "crossovers": [],
            "stage_seconds": {stage: cost(2 * seconds) for stage, seconds in stages.items()},
            "hardware": "AMD EPYC, 2 cores, cpu",
        }
        write_json(run.cost, table)
    return run


def write_branches(run: RunDirectory, arm: str, losses: Mapping[str, Sequence[float]]) -> None:
    """An arm's ``arm.json`` and its branches' training losses by step, by the branches' hashes."""
    write_json(run.arm(arm) / "arm.json", {"branches": list(losses)})
    for number, (name, values) in enumerate(losses.items(), start=1):
        lines = [{"step": step, "loss": loss, "answer_tokens": 10 * number} for step, loss in enumerate(values, 1)]
        write_text(BranchDirectory(run.branch(name)).metrics, "".join(json.dumps(line) + "\n" for line in lines))
