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
from transformers import PreTrainedModel

from training.config import EvaluationSettings, StartSettings
from training.errors import InputError
from training.evaluation.generation import greedy_answers
from training.evaluation.retention import encode_prompts
from training.evaluation.retention_reference import general_prompts
from training.interruption import Interrupted
from training.keyed_file import save_keyed
from training.mixture import Mixture, Task
from training.model.batching import Example, encode, micro_batches
from training.model.load import autocast, context_length, load_config, load_model, load_tokenizer
from training.model.loss import answer_losses, pack_if_possible
from training.model.packed_attention import disable_packing
from training.run_directory import RunDirectory
from training.sources.row import Row


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
        InputError: data that does not fit the model, or a loss that is not finite.
        Interrupted: ``stopping`` said so.
    """
    run = RunDirectory(root)
    mixture = Mixture.load(run.mixture)
    model = load_model(folder, start.precision, torch.device(device))
    tokenizer = load_tokenizer(folder)
    limit = context_length(model.config, start.max_length)
    tasks = (*mixture.tasks, *mixture.outside)
    rows = [task.rows("test") for task in tasks]
    examples = [encode(own, tokenizer, limit, task.name) for task, own in zip(tasks, rows, strict=True)]
    columns: dict[str, list[Any]] = {name: [] for name in ("task", "loss", "tokens", "correct", "match", "answers")}
    pack_if_possible(model)
    for number, (task, own) in enumerate(zip(tasks, examples, strict=True)):
        _stop_if(stopping)
        with torch.inference_mode(), autocast(start.precision, model.device):
            losses, correct = _item_losses(model, own, start.objective, batch_tokens)
        if not np.isfinite(losses).all():
            raise InputError(
                f"the loss of {name} on task {task.name!r} is not finite; lower branch.learning_rate, or take another "
                "start.model if it is that of base"
            )
        columns["task"].append(np.full(len(own), number))
        columns["loss"].append(losses)
        columns["tokens"].append([example.answer_tokens for example in own])
        columns["correct"].append(correct)
        report(sum(map(len, own)))
    disable_packing(model)
    for task, own_rows, own in zip(tasks, rows, examples, strict=True):
        _stop_if(stopping)
        with torch.inference_mode(), autocast(start.precision, model.device):
            answers = greedy_answers(model, tokenizer, own[:generate])
        columns["match"].append(_matches(task, own_rows, answers))
        columns["answers"].append(answers + [""] * (len(own) - len(answers)))
    arrays = {name: np.concatenate(values) for name, values in columns.items()}
    save_keyed(
        run.evaluation(name),
        key,
        tasks=np.array([task.name for task in tasks]),
        outside=np.array([task in mixture.outside for task in tasks]),
        **arrays | {"match": arrays["match"].astype(np.int8), "answers": arrays["answers"].astype(np.str_)},
    )


def check_test_rows(
    root: Path,
    start: StartSettings,
    evaluation: EvaluationSettings,
    device: str,
    report: Callable[[int], None],
    stopping: Callable[[], bool],
) -> None:
    """Tokenise for the run's base model what is measured at the end: what would be refused is refused before training.

    That is all test and validation rows, and the general prompts of retention.

    Raises:
        InputError: data that does not fit the model.
    """
    run = RunDirectory(root)
    mixture = Mixture.load(run.mixture)
    tokenizer = load_tokenizer(run.base)
    config = load_config(run.base)
    limit = context_length(config, start.max_length)
    for task in (*mixture.tasks, *mixture.outside):
        for split in ("test", "validation"):
            encode(task.rows(split), tokenizer, limit, task.name)
    encode_prompts(
        general_prompts(evaluation.retention), tokenizer, evaluation.retention_tokens, context_length(config, None)
    )


def _stop_if(stopping: Callable[[], bool]) -> None:
    if stopping():
        raise Interrupted("evaluation was stopped")


def _item_losses(
    model: PreTrainedModel, examples: list[Example], objective: str, batch_tokens: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    losses = torch.zeros(len(examples), dtype=torch.float64)
    correct = torch.zeros(len(examples), dtype=torch.int64)
    for batch in micro_batches(examples, batch_tokens):
        token_losses, token_correct = answer_losses(model, batch, objective)
        losses.index_add_(0, batch.items, token_losses.double().cpu())
        correct.index_add_(0, batch.items, token_correct.long().cpu())
    return losses.numpy(), correct.numpy()


def _matches(task: Task, rows: list[Row], answers: list[str]) -> list[int]:
    matches = task.matcher()
    scored = [int(matches(answer, row)) for answer, row in zip(answers, rows, strict=False)]
    return scored + [-1] * (len(rows) - len(scored))
