"""Evaluation of one model on the test items of the mixture and of unseen tasks.

Loss, tokens and correct tokens are kept per item, so that arms can be compared on the same items and everything else
follows from the file.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GenerationConfig, PreTrainedModel

from training.batching import Example, encode, micro_batches
from training.config import StartSettings
from training.interruption import Interrupted
from training.keyed_file import save_keyed
from training.loss import answer_losses, pack_if_possible
from training.mixture import Mixture, Task
from training.model import autocast, context_length, load_model, load_tokenizer
from training.packed_attention import disable_packing
from training.run_directory import RunDirectory
from training.sources.row import Row

ROOM_FOR_ANSWERS = 8
"""Tokens that generation may run past the longest reference answer of a task before it is stopped."""
GENERATION_BATCH = 16


def evaluate_model(
    root: Path,
    name: str,
    folder: Path,
    key: str,
    start: StartSettings,
    batch_tokens: int,
    generate: int,
    device: str,
    report: Callable[[int], None],
    stopping: Callable[[], bool],
) -> None:
    """Evaluate the model in ``folder`` and write ``evaluation/NAME.npz`` of the run directory ``root``.

    The file holds, over all items: ``task`` (index into ``tasks``), ``loss`` (float64, summed over the item's answer
    tokens), ``tokens`` and ``correct`` (int64), ``match`` (int8: -1 where nothing was generated) and ``answers``.

    Raises:
        InputError: data that does not fit the model.
        Interrupted: ``stopping`` said so.
    """
    run = RunDirectory(root)
    mixture = Mixture.load(run.mixture)
    model = load_model(folder, start.precision, torch.device(device))
    tokenizer = load_tokenizer(folder)
    limit = context_length(model, start.max_length)
    columns: dict[str, list[Any]] = {name: [] for name in ("task", "loss", "tokens", "correct", "match", "answers")}
    tasks = (*mixture.tasks, *mixture.outside)
    for number, task in enumerate(tasks):
        if stopping():
            raise Interrupted("evaluation was stopped")
        rows = task.rows("test")
        examples = encode(rows, tokenizer, limit, task.name)
        with torch.inference_mode(), autocast(start.precision, model.device):
            losses, correct = _item_losses(model, examples, start.objective, batch_tokens)
            answers = _generate(model, tokenizer, examples[:generate])
        columns["task"].append(np.full(len(rows), number))
        columns["loss"].append(losses)
        columns["tokens"].append([example.answer_tokens for example in examples])
        columns["correct"].append(correct)
        columns["match"].append(_matches(task, rows, answers))
        columns["answers"].append(answers + [""] * (len(rows) - len(answers)))
        report(sum(map(len, examples)))
    arrays = {name: np.concatenate(values) for name, values in columns.items()}
    save_keyed(
        run.evaluation(name),
        key,
        tasks=np.array([task.name for task in tasks]),
        outside=np.array([task in mixture.outside for task in tasks]),
        **arrays | {"match": arrays["match"].astype(np.int8), "answers": arrays["answers"].astype(np.str_)},
    )


def _item_losses(
    model: PreTrainedModel, examples: list[Example], objective: str, batch_tokens: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    pack_if_possible(model)
    losses = torch.zeros(len(examples), dtype=torch.float64)
    correct = torch.zeros(len(examples), dtype=torch.int64)
    for batch in micro_batches(examples, batch_tokens):
        batch = batch.to(model.device)
        token_losses, token_correct = answer_losses(model, batch, objective)
        losses.index_add_(0, batch.items.cpu(), token_losses.double().cpu())
        correct.index_add_(0, batch.items.cpu(), token_correct.long().cpu())
    return losses.numpy(), correct.numpy()


def _generate(model: Any, tokenizer: Any, examples: list[Example]) -> list[str]:
    """Greedy answers, batched by prompt length."""
    disable_packing(model)
    answers = [""] * len(examples)
    order = sorted(range(len(examples)), key=lambda index: examples[index].prompt_length)
    ends = model.generation_config.eos_token_id
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    for first in range(0, len(order), GENERATION_BATCH):
        chosen = order[first : first + GENERATION_BATCH]
        prompts = [torch.tensor(examples[index].ids[: examples[index].prompt_length]) for index in chosen]
        longest = max(len(examples[index]) - examples[index].prompt_length for index in chosen)
        width = max(map(len, prompts))
        ids = torch.stack([torch.nn.functional.pad(prompt, (width - len(prompt), 0), value=pad) for prompt in prompts])
        mask = torch.stack([torch.arange(width) >= width - len(prompt) for prompt in prompts]).long()
        settings = GenerationConfig(
            max_new_tokens=longest + ROOM_FOR_ANSWERS, do_sample=False, pad_token_id=pad, eos_token_id=ends
        )
        produced = model.generate(
            ids.to(model.device), attention_mask=mask.to(model.device), generation_config=settings
        )
        for index, row in zip(chosen, produced, strict=True):
            answers[index] = tokenizer.decode(row[width:], skip_special_tokens=True).strip()
    return answers


def _matches(task: Task, rows: list[Row], answers: list[str]) -> list[int]:
    matches = task.matcher()
    scored = [int(matches(answer, row)) for answer, row in zip(answers, rows, strict=False)]
    return scored + [-1] * (len(rows) - len(scored))
