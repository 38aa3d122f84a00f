"""Joint training, PCGrad and GradNorm on the same batches: seconds per step, peak memory, tokens/s.

Every batch holds as many examples of each of the demo's eight tasks. Each contender takes its steps (they are written
in :mod:`benchmarks.conflict_aware_steps`) in a process of its own, one after the other. What `training.results.cost`
computes of the peak memory of PCGrad and GradNorm from that of joint training stands beside what was measured.

    .venv/bin/python -m benchmarks.conflict_aware_training
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.conflict_aware_steps import GradNorm, Joint, PCGrad, Training
from benchmarks.record import record
from benchmarks.tasks import branch_of_demo_tasks, demo_tasks
from training.branches.spec import load_spec
from training.config import BranchSettings
from training.memory import peak_memory, reset_peak_memory
from training.model.embedded import embedded_model
from training.results.cost import JointTraining, gradnorm, measured, pcgrad
from training.results.cost_of_run import model_size
from training.run_directory import write_json

MODELS = ("tiny-llama", "smollm2-135m")
SKIPPED = 1
"""First steps, which also allocate; they are left out of the times."""
CONTENDERS: dict[str, Callable[[Training], Joint | PCGrad | GradNorm]] = {
    "joint": Joint,
    "pcgrad": PCGrad,
    "gradnorm": GradNorm,
}


def device() -> torch.device:
    """Where the contenders run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def measure(contender: str, spec_path: Path) -> dict[str, Any]:
    """Take the spec's steps."""
    reset_peak_memory()
    spec = load_spec(spec_path)
    training = Training(spec, spec.steps, device())
    method = CONTENDERS[contender](training)
    seconds, losses = [], []
    for tasks in training.steps:
        began = time.monotonic()
        losses.append(method.step(tasks))
        if device().type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.monotonic() - began)
    tokens = sum(len(example) for tasks in training.steps[SKIPPED:] for examples in tasks for example in examples)
    return {
        "seconds_per_step": round(median(seconds[SKIPPED:]), 4),
        "seconds": [round(value, 4) for value in seconds],
        "tokens_per_second": round(tokens / sum(seconds[SKIPPED:]), 1),
        "peak_memory_bytes": peak_memory(),
        "losses": [round(loss, 4) for loss in losses],
    }


def compare(model: str, steps: int, batch: int) -> dict[str, Any]:
    """All contenders on one model, one after the other."""
    start = embedded_model(model)
    settings = BranchSettings(batch_size=batch, schedule="constant", warmup_fraction=0)
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        spec = branch_of_demo_tasks(Path(name), start, device(), steps, settings)
        write_json(Path(name) / "spec.json", spec.model_dump())
        for contender in CONTENDERS:
            command = [sys.executable, "-m", "benchmarks.conflict_aware_training"]
            command += ["--contender", contender, "--spec", f"{name}/spec.json"]
            environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            results[contender] = json.loads(done.stdout.splitlines()[-1])
    joint = results["joint"]
    reference = JointTraining(
        "joint",
        steps,
        measured(sum(joint["seconds"]), "this benchmark"),
        measured(joint["peak_memory_bytes"], "this benchmark"),
        [len(demo_tasks())] * steps,
    )
    sizes = model_size(start, spec)
    for contender, predicted in (("pcgrad", pcgrad), ("gradnorm", gradnorm)):
        entry = results[contender]
        expected = int(predicted(reference, sizes, 1).peak_memory_bytes.value)
        entry["computed_peak_memory_bytes"] = expected
        entry["computed / measured peak memory"] = round(expected / entry["peak_memory_bytes"], 3)
        entry["seconds / joint"] = round(entry["seconds_per_step"] / joint["seconds_per_step"], 2)
        entry["peak memory / joint"] = round(entry["peak_memory_bytes"] / joint["peak_memory_bytes"], 2)
    return {"gradient_bytes": sizes.gradient, "contenders": results}


def main() -> None:
    """Compare, or measure one contender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, action="append", help="repeat for several; both by default")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=16, help="examples per step, a multiple of the number of tasks")
    parser.add_argument("--contender", choices=list(CONTENDERS))
    parser.add_argument("--spec", type=Path)
    arguments = parser.parse_args()
    if arguments.contender is not None:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        sys.stdout.write("\n" + json.dumps(measure(arguments.contender, arguments.spec)) + "\n")
        return
    if arguments.batch % len(demo_tasks()):
        parser.error(f"--batch {arguments.batch} is no multiple of the {len(demo_tasks())} tasks")
    result = {
        "tasks": len(demo_tasks()),
        "steps": arguments.steps,
        "batch": arguments.batch,
        "device": str(device()),
        "models": {
            model: compare(model, arguments.steps, arguments.batch) for model in arguments.model or list(MODELS)
        },
    }
    record("conflict_aware_training", result)


if __name__ == "__main__":
    main()
