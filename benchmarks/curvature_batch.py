"""The loss whose curvature is measured: the untouched SmolLM2-135M on a few of the demo's examples, in one micro-batch.

One micro-batch, because only then is the tools' mean over micro-batches the mean over answer tokens.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from benchmarks.tasks import demo_tasks
from training.config import MixtureSettings
from training.mixture import Mixture, freeze
from training.model.batching import Batch, Example, collate, encode
from training.model.embedded import embedded_model
from training.model.load import load_model, load_tokenizer
from training.model.loss import pack_if_possible

PER_TASK = 8


def freeze_examples(folder: Path) -> None:
    """Write examples that every process reads."""
    names: list[Any] = [f"reasoning_gym:{name}" for name in demo_tasks()]
    freeze(MixtureSettings(tasks=names, train=1, calibration=PER_TASK, test=1), 0, folder)


def model_and_batch(folder: Path, tokens: int, precision: str) -> tuple[PreTrainedModel, Batch]:
    """The model, packing its rows, and examples of all tasks in turn that have at most ``tokens`` tokens together."""
    start = embedded_model("smollm2-135m")
    model = load_model(start, precision, torch.device("cpu"))
    pack_if_possible(model)
    tokenizer = load_tokenizer(start)
    by_task = [encode(task.rows("calibration"), tokenizer, 8192, task.name) for task in Mixture.load(folder).tasks]
    chosen: list[Example] = []
    for examples in zip(*by_task, strict=True):
        for example in examples:
            if sum(map(len, chosen)) + len(example) <= tokens:
                chosen.append(example)
    return model, collate(chosen, range(len(chosen)))


def described(batch: Batch) -> dict[str, int]:
    """Size of the micro-batch."""
    return {
        "rows": len(batch.lengths),
        "tokens": int(batch.lengths.sum()),
        "tokens_after_packing": int((batch.lengths - batch.shared).sum()),
        "answer_tokens": batch.answer_tokens,
    }
