"""Retention: whether a model still answers general prompts at length, as the untouched base model does.

A mixture of short answers teaches a model above all to answer shortly, and an arm may differ from another in nothing
else. So every arm is given general prompts that come with the package, and three things are measured: its loss on
reference answers, its divergence from the model that gave them, and the length of its own answers.

The reference is the base model and not the start, because a primer suffices for the effect. On the 32 prompts with a
limit of 192 tokens, SmolLM2-135M-Instruct answered in 184 tokens on average (29 answers were cut); after a primer of 96
short answers (12 of each of 8 tasks, 5,868 tokens) it answered in 15, with a median of 3: "1" to a request for a poem,
"Sure" to one for a letter. Measured against such a start, an arm that lost the rest would look faithful.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.config import StartSettings
from training.errors import InputError
from training.evaluation.generation import greedy_continuations
from training.evaluation.retention_reference import ReferenceAnswer, freeze_reference, general_prompts, load_reference
from training.interruption import Interrupted
from training.keyed_file import save_keyed
from training.model.batching import Example, collate
from training.model.load import autocast, context_length, load_model, load_tokenizer
from training.model.loss import OBJECTIVES, answer_logits
from training.run_directory import RunDirectory

ROWS = 128
"""Positions whose whole distributions are compared at a time: they take 2 × 8 bytes × ROWS × vocabulary."""


def encode_prompts(prompts: list[str], tokenizer: Any, room: int, context: int) -> list[tuple[int, ...]]:
    """Tokens of each prompt in the tokenizer's chat template.

    Raises:
        InputError: ``room`` tokens of answer after a prompt do not fit in the ``context``.
    """
    encoded = []
    for prompt in prompts:
        messages = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tuple(tokenizer.encode(text, add_special_tokens=False))
        if len(ids) + room > context:
            raise InputError(
                f"a general prompt of {len(ids)} tokens and evaluation.retention_tokens = {room} do not fit in the "
                f"context of {context}; lower evaluation.retention_tokens, or set evaluation.retention to 0"
            )
        encoded.append(ids)
    return encoded


def answer_prompts(
    root: Path,
    folder: Path,
    key: str,
    start: StartSettings,
    prompts: int,
    tokens: int,
    device: str,
    report: Callable[[int], None],
    stopping: Callable[[], bool],
) -> str:
    """Freeze the reference: greedy answers of the model in ``folder``, of at most ``tokens`` tokens, under ``key``.

    Returns the SHA-256 of the answers.

    Raises:
        InputError: a prompt and its answer do not fit in the model's context.
    """
    model = load_model(folder, start.precision, torch.device(device))
    tokenizer = load_tokenizer(folder)
    asked = general_prompts(prompts)
    encoded = encode_prompts(asked, tokenizer, tokens, context_length(model.config, None))
    with torch.inference_mode(), autocast(start.precision, model.device):
        answers = greedy_continuations(model, tokenizer, encoded, [tokens] * prompts)
    return freeze_reference(
        RunDirectory(root),
        key,
        [
            ReferenceAnswer(
                prompt=prompt,
                answer=tokenizer.decode(answer.ids, skip_special_tokens=True),
                ids=(*ids, *answer.ids),
                prompt_length=len(ids),
                ended=answer.ended,
            )
            for prompt, ids, answer in zip(asked, encoded, answers, strict=True)
        ],
    )


def measure_retention(
    root: Path,
    name: str,
    folder: Path,
    reference: Path,
    key: str,
    start: StartSettings,
    tokens: int,
    device: str,
    report: Callable[[int], None],
    stopping: Callable[[], bool],
) -> None:
    """Measure the model in ``folder`` against the frozen answers of the one in ``reference``.

    Writes ``retention/NAME.npz`` of the run directory ``root``: the columns of
    :class:`training.evaluation.retention_results.RetentionItems`, and ``answers``, the model's own answers as text.
    The two models are in memory together; of their logits, those of one answer at a time.

    Raises:
        InputError: a loss that is not finite.
        Interrupted: ``stopping`` said so.
    """
    run = RunDirectory(root)
    model, teacher = (load_model(each, start.precision, torch.device(device)) for each in (folder, reference))
    tokenizer = load_tokenizer(folder)
    examples = [_example(answer) for answer in load_reference(run)]
    losses, divergences = [], []
    for example in examples:
        _stop_if(stopping)
        batch = collate([example], [0])
        with torch.inference_mode(), autocast(start.precision, model.device):
            logits, expected = answer_logits(model, batch), answer_logits(teacher, batch)
            token_losses = OBJECTIVES[start.objective](logits, batch.targets.to(logits.device))
            losses.append(token_losses.double().sum().item())
            divergences.append(token_divergences(expected, logits).sum().item())
        report(len(example))
    if not np.isfinite([*losses, *divergences]).all():
        raise InputError(f"the loss of {name} on general prompts is not finite; lower branch.learning_rate")
    del teacher
    _stop_if(stopping)
    prompts = [example.ids[: example.prompt_length] for example in examples]
    with torch.inference_mode(), autocast(start.precision, model.device):
        own = greedy_continuations(model, tokenizer, prompts, [tokens] * len(prompts))
    save_keyed(
        run.retention(name),
        key,
        loss=np.array(losses),
        divergence=np.array(divergences),
        tokens=np.array([example.answer_tokens for example in examples]),
        length=np.array([answer.length for answer in own]),
        ended=np.array([answer.ended for answer in own]),
        answers=np.array([tokenizer.decode(answer.ids, skip_special_tokens=True) for answer in own], dtype=np.str_),
    )


def token_divergences(expected: Tensor, logits: Tensor) -> Tensor:
    """KL(p ∥ q) in nats at each position [rows], p and q the distributions of ``expected`` and ``logits``.

    Both are [rows, vocabulary]; the sum runs over the whole vocabulary, in float64, for :data:`ROWS` positions at a
    time.
    """
    return torch.cat(
        [
            functional.kl_div(
                functional.log_softmax(below.double(), dim=1),
                functional.log_softmax(above.double(), dim=1),
                reduction="none",
                log_target=True,
            ).sum(dim=1)
            for above, below in zip(expected.split(ROWS), logits.split(ROWS), strict=True)
        ]
    )


def _example(answer: ReferenceAnswer) -> Example:
    has_loss = tuple(place >= answer.prompt_length for place in range(len(answer.ids)))
    return Example(answer.ids, has_loss, answer.prompt_length)


def _stop_if(stopping: Callable[[], bool]) -> None:
    if stopping():
        raise Interrupted("evaluation was stopped")
