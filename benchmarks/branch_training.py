"""Speed of branch training against transformers.Trainer and trl.SFTTrainer: same model, data, batches and optimiser.

Every contender runs in a process of its own on the same rows in the same order (but ``trainer-grouped``, which sorts
them by length), one after the other, in fp32 on a CPU or with bf16 autocast on CUDA, and reports useful (non-padding)
tokens per second of its training loop, its losses step by step, and its peak memory. Two branches at once on one thread
each stand against ``trainer-all-threads`` on the same cores.

    make peers && .venv-peers/bin/python -m benchmarks.branch_training
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import record
from benchmarks.tasks import branch_of_demo_tasks
from training.branches.data_order import step_indices
from training.branches.spec import load_spec
from training.branches.train import train_branch
from training.config import BranchSettings
from training.memory import peak_memory, reset_peak_memory
from training.mixture import Mixture
from training.model.batching import Example, encode
from training.model.embedded import embedded_model
from training.model.load import load_model, load_tokenizer
from training.run_directory import write_json
from training.sources.row import Row

BATCH = 16
RATE = 1e-4
"""Constant from the first step, so that losses can be compared step by step."""


def prepare(folder: Path, steps: int) -> None:
    """Freeze the mixture and write the spec that all contenders train."""
    settings = BranchSettings(
        learning_rate=RATE, schedule="constant", warmup_fraction=0, batch_size=BATCH, clip_norm=1.0
    )
    spec = branch_of_demo_tasks(folder, embedded_model("smollm2-135m"), torch.device(device()), steps, settings)
    write_json(folder / "spec.json", spec.model_dump())


def device() -> str:
    """Where the contenders run."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def measured(tokens: int, seconds: float, losses: Sequence[float]) -> dict[str, Any]:
    """What a contender reports."""
    return {
        "tokens": tokens,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(tokens / seconds, 1),
        "losses": [round(loss, 4) for loss in losses],
        "peak_memory_bytes": peak_memory(),
    }


def ours(folder: Path, number: int = 0) -> dict[str, Any]:
    """A branch, as a run trains it; seconds are those of its steps."""
    out = folder / f"branch-{number}"
    done = train_branch(folder / "spec.json", out, device(), lambda tokens: None, lambda: False)
    losses = [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    return measured(done["tokens"], done["seconds"], losses)


def in_order(folder: Path, rows: Sequence[Any]) -> list[Any]:
    """Rows of the mixture in the order in which our branch takes them."""
    spec = load_spec(folder / "spec.json")
    return [rows[index] for step in range(spec.steps) for index in step_indices(spec, step, [len(rows)])]


def conversations(folder: Path) -> list[Row]:
    """The rows in order."""
    return in_order(folder, [row for task in Mixture.load(folder / "mixture").tasks for row in task.rows("train")])


def encoded(folder: Path) -> list[Example]:
    """The rows in order, tokenised as our branch does it."""
    return encode(conversations(folder), load_tokenizer(embedded_model("smollm2-135m")), 8192, "benchmark")


def trainer_arguments(folder: Path, steps: int, **more: Any) -> dict[str, Any]:
    """Settings that transformers and trl share, equal to ours."""
    return {
        "output_dir": str(folder / "trainer"),
        "per_device_train_batch_size": BATCH,
        "max_steps": steps,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "optim": "adamw_torch_fused",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": device() == "cpu",
        "bf16": device() == "cuda",
        "seed": 0,
        "train_sampling_strategy": "sequential",
        "disable_tqdm": True,
        **more,
    }


def timed(trainer: Any, tokens: int) -> dict[str, Any]:
    """Train, and report losses as the trainer logged them."""
    reset_peak_memory()
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    return measured(tokens, seconds, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry])


def transformers_trainer(folder: Path, steps: int, **more: Any) -> dict[str, Any]:
    """transformers.Trainer with dynamic padding, on the same ids and labels."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    examples = encoded(folder)
    rows = [
        {
            "input_ids": list(example.ids),
            "labels": [token if loss else -100 for token, loss in zip(example.ids, example.has_loss, strict=True)],
        }
        for example in examples
    ]
    start = embedded_model("smollm2-135m")
    trainer = Trainer(
        model=load_model(start, "float32", torch.device(device())),
        args=TrainingArguments(**trainer_arguments(folder, steps, **more)),
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(load_tokenizer(start)),
    )
    return timed(trainer, sum(map(len, examples)))


def sft_trainer(folder: Path, steps: int) -> dict[str, Any]:
    """trl.SFTTrainer on the same conversations in prompt-completion form, its other settings at their defaults."""
    import datasets
    from trl import SFTConfig, SFTTrainer

    pairs = [{"prompt": list(row.messages[:-1]), "completion": [row.messages[-1]]} for row in conversations(folder)]
    start = embedded_model("smollm2-135m")
    trainer = SFTTrainer(
        model=load_model(start, "float32", torch.device(device())),
        args=SFTConfig(**trainer_arguments(folder, steps)),
        train_dataset=datasets.Dataset.from_list(pairs),
        processing_class=load_tokenizer(start),
    )
    return timed(trainer, sum(map(len, encoded(folder))))


CONTENDERS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "ours": lambda folder, steps: ours(folder),
    "trainer": transformers_trainer,
    "trainer-grouped": lambda folder, steps: transformers_trainer(
        folder, steps, train_sampling_strategy="group_by_length"
    ),
    "trainer-all-threads": transformers_trainer,
    "sft-trainer": sft_trainer,
}


def run_contender(name: str, folder: Path, steps: int, threads: int) -> subprocess.Popen[str]:
    """Start a contender in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.branch_training",
        "--contender",
        name,
        "--folder",
        str(folder),
        "--steps",
        str(steps),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def result_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a contender; its result is its last line."""
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"a contender failed with exit code {process.returncode}")
    return json.loads(output.splitlines()[-1])


def compare(steps: int) -> dict[str, Any]:
    """Run all contenders one after the other, then two branches at once."""
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, steps)
        results = {}
        for contender in CONTENDERS:
            threads = cores if contender == "trainer-all-threads" else 1
            results[contender] = result_of(run_contender(contender, folder, steps, threads))
        (folder / "second").mkdir()
        prepare(folder / "second", steps)
        pair = [result_of(process) for process in start_pair(folder, steps)]
    together = sum(entry["tokens"] for entry in pair) / max(entry["seconds"] for entry in pair)
    speed = {contender: entry["tokens_per_second"] for contender, entry in results.items()}
    for entry in results.values():
        pairs = zip(entry["losses"], results["ours"]["losses"], strict=True)
        entry["largest_loss_difference"] = round(max(abs(theirs - ours) for theirs, ours in pairs), 4)
    return {
        "steps": steps,
        "batch": BATCH,
        "device": device(),
        "contenders": results,
        "two_branches_tokens_per_second": round(together, 1),
        "ratios": {
            "ours / trainer": round(speed["ours"] / speed["trainer"], 2),
            "ours / trainer-grouped": round(speed["ours"] / speed["trainer-grouped"], 2),
            "ours / sft-trainer": round(speed["ours"] / speed["sft-trainer"], 2),
            "two branches / trainer-all-threads": round(together / speed["trainer-all-threads"], 2),
        },
    }


def start_pair(folder: Path, steps: int) -> list[subprocess.Popen[str]]:
    """Two branches at once, one thread each."""
    (folder / "branch-0").rename(folder / "finished")
    return [run_contender("ours", place, steps, 1) for place in (folder, folder / "second")]


def main() -> None:
    """Compare, or run one contender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--contender", choices=list(CONTENDERS))
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.contender is None:
        record(f"branch_training_{device()}", compare(arguments.steps))
        return
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    sys.stdout.write("\n" + json.dumps(CONTENDERS[arguments.contender](arguments.folder, arguments.steps)) + "\n")


if __name__ == "__main__":
    main()
