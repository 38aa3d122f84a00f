"""Greedy answers: the most likely continuation of a prompt, token by token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import GenerationConfig

from training.model.batching import Example

ROOM_FOR_ANSWERS = 8
"""Tokens that a continuation may run past the longest reference answer."""
BATCH = 16


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a model added to a prompt.

    Attributes:
        ids: its tokens, with the end token where one came.
        ended: whether the model ended it, and not the limit.
    """

    ids: tuple[int, ...]
    ended: bool

    @property
    def length(self) -> int:
        """Tokens of the answer itself, without the end token: 0 where the model ended at once."""
        return len(self.ids) - self.ended


def greedy_continuations(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], limits: Sequence[int]
) -> list[Continuation]:
    """The greedy continuation of each prompt, given as token ids.

    Prompts are batched by length; a continuation ends with one of the model's end tokens, or at the largest of its
    batch's ``limits`` (tokens, the end token included).
    """
    continuations: dict[int, Continuation] = {}
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    given = model.generation_config.eos_token_id
    ends = set(given if isinstance(given, list) else [given])
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    for first in range(0, len(order), BATCH):
        chosen = order[first : first + BATCH]
        rows = [torch.tensor(prompts[index]) for index in chosen]
        width = max(map(len, rows))
        ids = torch.stack([functional.pad(row, (width - len(row), 0), value=pad) for row in rows])
        mask = torch.stack([torch.arange(width) >= width - len(row) for row in rows]).long()
        settings = GenerationConfig(
            max_new_tokens=max(limits[index] for index in chosen),
            do_sample=False,
            pad_token_id=pad,
            eos_token_id=given,
        )
        produced = model.generate(
            ids.to(model.device), attention_mask=mask.to(model.device), generation_config=settings
        )
        for index, row in zip(chosen, produced[:, width:].tolist(), strict=True):
            end = next((place for place, token in enumerate(row) if token in ends), None)
            continuations[index] = Continuation(tuple(row if end is None else row[: end + 1]), end is not None)
    return [continuations[index] for index in range(len(prompts))]


def greedy_answers(model: Any, tokenizer: Any, examples: list[Example]) -> list[str]:
    """The greedy answer to each example's prompt as text without special tokens.

    An answer that the model does not end is cut a few tokens past the longest reference answer of its batch.
    """
    prompts = [example.ids[: example.prompt_length] for example in examples]
    limits = [len(example) - example.prompt_length + ROOM_FOR_ANSWERS for example in examples]
    continuations = greedy_continuations(model, tokenizer, prompts, limits)
    return [tokenizer.decode(answer.ids, skip_special_tokens=True).strip() for answer in continuations]
