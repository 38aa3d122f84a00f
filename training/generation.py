"""Greedy answers to the prompts of examples, for exact match."""

from typing import Any

import torch
from torch.nn import functional
from transformers import GenerationConfig

from training.batching import Example

ROOM_FOR_ANSWERS = 8
"""Tokens that a continuation may run past the longest reference answer."""
BATCH = 16


def greedy_answers(model: Any, tokenizer: Any, examples: list[Example]) -> list[str]:
    """The most likely continuation of each example's prompt, token by token, as text without special tokens.

    Prompts are batched by length. A continuation ends with the model's end token, or a few tokens past the longest
    reference answer of its batch.
    """
    answers = [""] * len(examples)
    order = sorted(range(len(examples)), key=lambda index: examples[index].prompt_length)
    ends = model.generation_config.eos_token_id
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    for first in range(0, len(order), BATCH):
        chosen = order[first : first + BATCH]
        prompts = [torch.tensor(examples[index].ids[: examples[index].prompt_length]) for index in chosen]
        longest = max(len(examples[index]) - examples[index].prompt_length for index in chosen)
        width = max(map(len, prompts))
        ids = torch.stack([functional.pad(prompt, (width - len(prompt), 0), value=pad) for prompt in prompts])
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
