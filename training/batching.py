"""From chat messages to micro-batches: chat template, answer mask, length buckets.

A conversation is tokenised in segments that end where a prompt ends, so that training sees exactly the tokens that
generation will be given. Loss falls on the assistant's tokens and on the token that ends its turn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.errors import InputError
from training.sources.row import Row


@dataclass(frozen=True, slots=True)
class Example:
    """One tokenised row: ids, which of them carry loss, and the length of the prompt of its last answer."""

    ids: tuple[int, ...]
    has_loss: tuple[bool, ...]
    prompt_length: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def answer_tokens(self) -> int:
        """Tokens with loss."""
        return sum(self.has_loss)


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded examples.

    Attributes:
        input_ids: [rows, length] int64. Causal attention keeps padding on the right out of every real position, so no
            attention mask is needed.
        predicts: [rows, length] bool, positions whose next token carries loss.
        targets: [answer tokens] int64, those next tokens, row by row.
        items: [answer tokens] int64, the example of each target, as indexed by the caller.
        tokens: non-padding tokens.
        prefix_length: leading tokens that all rows share and that predict nothing with loss, such as a system prompt.
    """

    input_ids: Tensor
    predicts: Tensor
    targets: Tensor
    items: Tensor
    tokens: int
    prefix_length: int

    @property
    def answer_tokens(self) -> int:
        """Tokens with loss."""
        return self.targets.numel()

    def to(self, device: torch.device) -> "Batch":
        """The batch on ``device``."""
        tensors = (self.input_ids, self.predicts, self.targets, self.items)
        moved = (tensor.to(device, non_blocking=True) for tensor in tensors)
        return Batch(*moved, tokens=self.tokens, prefix_length=self.prefix_length)


def encode(rows: Sequence[Row], tokenizer: Any, max_length: int, task: str) -> list[Example]:
    """Tokenise rows with the tokenizer's own chat template.

    Raises:
        InputError: no chat template, a template that rewrites earlier turns, or an example longer than ``max_length``.
    """
    if not tokenizer.chat_template:
        raise InputError("the model's tokenizer has no chat template; add chat_template.jinja to the model folder")
    return [
        _encode_row(row, tokenizer, max_length, f"task {task!r}, row {number}") for number, row in enumerate(rows, 1)
    ]


def _encode_row(row: Row, tokenizer: Any, max_length: int, where: str) -> Example:
    messages = list(row.messages)
    ids: list[int] = []
    has_loss: list[bool] = []
    text = ""
    prompt_length = 0

    def append(segment: str, loss: bool) -> None:
        tokens = tokenizer.encode(segment, add_special_tokens=False) if segment else []
        ids.extend(tokens)
        has_loss.extend([loss] * len(tokens))

    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = tokenizer.apply_chat_template(messages[:turn], tokenize=False, add_generation_prompt=True)
        answered = tokenizer.apply_chat_template(messages[: turn + 1], tokenize=False)
        if not prompt.startswith(text) or not answered.startswith(prompt):
            raise InputError(f"{where}: the chat template rewrites earlier turns; use a template that only appends")
        append(prompt[len(text) :], loss=False)
        prompt_length = len(ids)
        answer = answered[len(prompt) :]
        append(answer.rstrip(), loss=True)
        # Templates often end a turn with a line break after the end token: context for later turns, nothing to learn.
        text = answered[: len(prompt) + len(answer.rstrip())]
    if len(ids) > max_length:
        raise InputError(
            f"{where}: {len(ids)} tokens do not fit in the context of {max_length}; shorten or drop the row"
        )
    if not any(has_loss):
        raise InputError(f"{where}: the chat template leaves nothing of the answer; correct the template")
    return Example(tuple(ids), tuple(has_loss), prompt_length)


def collate(examples: Sequence[Example], items: Sequence[int]) -> Batch:
    """Pad ``examples`` on the right to their longest."""
    length = max(map(len, examples))
    input_ids = torch.zeros(len(examples), length, dtype=torch.int64)
    has_loss = torch.zeros(len(examples), length, dtype=torch.bool)
    for row, example in enumerate(examples):
        input_ids[row, : len(example)] = torch.tensor(example.ids)
        has_loss[row, : len(example)] = torch.tensor(example.has_loss)
    predicts = torch.zeros_like(has_loss)
    predicts[:, :-1] = has_loss[:, 1:]
    owners = torch.tensor(items)[:, None].expand(-1, length)
    return Batch(
        input_ids=input_ids,
        predicts=predicts,
        targets=input_ids[:, 1:][has_loss[:, 1:]],
        items=owners[predicts],
        tokens=sum(map(len, examples)),
        prefix_length=_common_prefix(input_ids, predicts),
    )


def _common_prefix(input_ids: Tensor, predicts: Tensor) -> int:
    shared = (input_ids == input_ids[:1]).all(dim=0) & ~predicts.any(dim=0)
    length = int(shared.long().cumprod(dim=0).sum())
    return min(length, input_ids.shape[1] - 1)


def micro_batches(examples: Sequence[Example], max_tokens: int) -> Iterator[Batch]:
    """Cut examples, sorted by length, into batches of at most ``max_tokens`` padded tokens (one example at least).

    ``Batch.items`` index into ``examples``. What is summed over the micro-batches does not depend on the cut.
    """
    order = sorted(range(len(examples)), key=lambda index: -len(examples[index]))
    taken: list[int] = []
    for index in order:
        if taken and len(examples[taken[0]]) * (len(taken) + 1) > max_tokens:
            yield collate([examples[item] for item in taken], taken)
            taken = []
        taken.append(index)
    if taken:
        yield collate([examples[item] for item in taken], taken)
