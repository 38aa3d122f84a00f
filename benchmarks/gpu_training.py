"""Tokens/s and model FLOPs utilisation of a branch on a GPU, with torch.compile off and on.

Each contender trains a branch as a run does it, in bf16 autocast, in a process of its own. The models are SmolLM2-135M
and a randomly initialised one of the shape of Qwen2-1.5B. The first steps (compilation, memory growth) are left out.
Utilisation counts only floating-point operations that are done: torch's FLOP counter over forward and backward of one
step, packed as it is trained, against the device's dense bf16 peak. Useful tokens/s counts every token of every row,
also those that packing puts through the model once for many rows.

    .venv/bin/python -m benchmarks.gpu_training
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks.record import record
from benchmarks.tasks import branch_of_demo_tasks
from training.branches.data_order import step_indices
from training.branches.spec import load_spec
from training.branches.train import train_branch
from training.config import BranchSettings
from training.mixture import Mixture
from training.model.batching import encode, micro_batches
from training.model.embedded import embedded_model
from training.model.load import autocast, load_model, load_tokenizer, save_model
from training.model.loss import answer_losses, pack_if_possible
from training.run_directory import write_json

MODELS = ("smollm2-135m", "qwen2-1.5b", "tiny-llama")
DENSE_BF16_PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""FLOP/s of dense bf16 matrix products, from NVIDIA's data sheets (SXM parts)."""

SKIPPED = 3


def model_folder(name: str, folder: Path) -> Path:
    """The embedded model, or one of Qwen2-1.5B's shape with random weights and SmolLM2's tokenizer."""
    if name != "qwen2-1.5b":
        return embedded_model(name)
    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=1536,
        intermediate_size=8960,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    save_model(Qwen2ForCausalLM(config), embedded_model("smollm2-135m"), folder)
    return folder


def prepare(folder: Path, name: str, device: torch.device, steps: int, batch: int, micro_batch_tokens: int) -> None:
    """Freeze the mixture and write the specs with and without torch.compile."""
    start = model_folder(name, folder / "start")
    for mode in ("eager", "compiled"):
        settings = BranchSettings(
            batch_size=batch,
            micro_batch_tokens=micro_batch_tokens,
            compile=mode == "compiled",
            displacement_every=steps,
            checkpoint_seconds=1e9,
        )
        spec = branch_of_demo_tasks(folder, start, device, steps, settings)
        write_json(folder / f"{mode}.json", spec.model_dump())


def train(spec_path: Path, device: torch.device) -> dict[str, Any]:
    """Train the branch; tokens/s over the steps after the first."""
    out = spec_path.with_suffix("")
    done = train_branch(spec_path, out, str(device), lambda tokens: None, lambda: False)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()][SKIPPED:]
    seconds = sum(line["seconds"] for line in lines)
    return {
        "tokens_per_second": round(sum(line["tokens"] for line in lines) / seconds, 1),
        "seconds_per_step": round(seconds / len(lines), 4),
        "first_steps_seconds": round(done["seconds"] - seconds, 2),
        "last_loss": lines[-1]["loss"],
        "peak_memory_bytes": done["peak_memory_bytes"],
        "packed": done["packed"],
    }


def flops_per_step(spec_path: Path, device: torch.device) -> float:
    """Floating-point operations, forward and backward, of the first step that is timed."""
    spec = load_spec(spec_path)
    start = Path(spec.start_path)
    model = load_model(start, spec.precision, device).train()
    pack_if_possible(model)
    tokenizer = load_tokenizer(start)
    tasks = Mixture.load(Path(spec.mixture_path)).tasks
    examples = [example for task in tasks for example in encode(task.rows("train"), tokenizer, 8192, task.name)]
    chosen = [examples[index] for index in step_indices(spec, SKIPPED, [len(examples)])]
    with FlopCounterMode(display=False) as counter:
        for batch in micro_batches(chosen, spec.settings.micro_batch_tokens):
            with autocast(spec.precision, device):
                losses, _ = answer_losses(model, batch, spec.objective)
            losses.sum().backward()
    return float(counter.get_total_flops())


def compare(models: list[str], device: torch.device, steps: int, batch: int, tokens: int) -> dict[str, Any]:
    """Every model, eager and compiled."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    peak = next((flops for part, flops in DENSE_BF16_PEAK.items() if part in name.split()[-1] or part in name), None)
    result: dict[str, Any] = {"device": name, "steps": steps, "batch": batch, "micro_batch_tokens": tokens}
    for model in models:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            prepare(folder, model, device, steps, batch, tokens)
            result[model] = {}
            for mode in ("eager", "compiled"):
                command = [sys.executable, "-m", "benchmarks.gpu_training", "--one", str(folder / f"{mode}.json")]
                command += ["--device", str(device)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
                entry = json.loads(done.stdout.splitlines()[-1])
                achieved = entry["flops_per_step"] / entry["seconds_per_step"]
                entry["utilisation_percent"] = None if peak is None else round(100 * achieved / peak, 1)
                result[model][mode] = entry
    return result


def main() -> None:
    """Compare, or run one contender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, action="append", help="repeat for several; both large ones")
    parser.add_argument("--device", default="cuda", type=torch.device)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--micro-batch-tokens", type=int, default=32_768)
    parser.add_argument("--one", type=Path, metavar="SPEC")
    arguments = parser.parse_args()
    if arguments.one is not None:
        entry = train(arguments.one, arguments.device)
        entry["flops_per_step"] = flops_per_step(arguments.one, arguments.device)
        sys.stdout.write("\n" + json.dumps(entry) + "\n")
        return
    if arguments.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device is visible; try --device cpu --model tiny-llama --batch 16 to see it work")
    models = arguments.model or list(MODELS[:2])
    result = compare(models, arguments.device, arguments.steps, arguments.batch, arguments.micro_batch_tokens)
    record(f"gpu_training_{arguments.device.type}", result)


if __name__ == "__main__":
    main()
