"""From chat messages to micro-batches: chat template, answer mask, length buckets.

A conversation is tokenised in segments that end where a prompt ends, so that training sees exactly the tokens that
generation will be given. Loss falls on the assistant's tokens and on the token that ends its turn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor

from training.errors import InputError
from training.sources.row import Row

SHOWN = 60
"""Characters of a question that say which row is meant."""


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
    """Right-padded examples, ordered so that rows with a common beginning are neighbours; on the CPU.

    Attributes:
        input_ids: [rows, length] int64. Causal attention keeps padding on the right out of every real position, so no
            attention mask is needed.
        lengths: [rows] int64, tokens of each row.
        shared: [rows] int64, leading tokens that a row shares with the row before it.
        predicts: [rows, length] bool, positions whose next token carries loss.
        targets: [answer tokens] int64, those next tokens, row by row.
        items: [answer tokens] int64, the example of each target, as indexed by the caller.
    """

    input_ids: Tensor
    lengths: Tensor
    shared: Tensor
    predicts: Tensor
    targets: Tensor
    items: Tensor

    @property
    def answer_tokens(self) -> int:
        """Tokens with loss."""
        return self.targets.numel()


def encode(rows: Sequence[Row], tokenizer: Any, max_length: int, task: str) -> list[Example]:
    """Tokenise rows with the tokenizer's own chat template.

    Raises:
        InputError: no chat template, a template that rewrites earlier turns, a message with one of the tokenizer's
            special tokens in its text, or an example longer than ``max_length``.
    """
    if not tokenizer.chat_template:
        raise InputError(
            f"the tokenizer in {tokenizer.name_or_path} has no chat template; add chat_template.jinja to the folder of "
            "the model you start from"
        )
    return [_encode_row(row, tokenizer, max_length, f"task {task!r}, row {_told(row)}") for row in rows]


def _told(row: Row) -> str:
    # Splits are shuffled, so a number would not find the row in the user's file.
    question = row.messages[-2]["content"]
    return repr(question if len(question) <= SHOWN else question[:SHOWN] + "…")


def _encode_row(row: Row, tokenizer: Any, max_length: int, where: str) -> Example:
    messages = list(row.messages)
    for special in tokenizer.all_special_tokens:
        if any(special in message["content"] for message in messages):
            raise InputError(
                f"{where}: a message holds the special token {special!r}; remove it or the model reads a turn"
            )
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
        try:
            prompt = tokenizer.apply_chat_template(messages[:turn], tokenize=False, add_generation_prompt=True)
            answered = tokenizer.apply_chat_template(messages[: turn + 1], tokenize=False)
        except TemplateError as error:
            raise InputError(
                f"{where}: the chat template refuses it ({error}); change the row or the template"
            ) from None
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
    """A batch of ``examples``; ``items`` says what the caller calls each of them."""
    order = sorted(range(len(examples)), key=lambda index: examples[index].ids)
    rows = [examples[index] for index in order]
    lengths = torch.tensor([len(example) for example in rows])
    input_ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.int64)
    has_loss = torch.zeros_like(input_ids, dtype=torch.bool)
    for row, example in enumerate(rows):
        input_ids[row, : len(example)] = torch.tensor(example.ids)
        has_loss[row, : len(example)] = torch.tensor(example.has_loss)
    predicts = torch.zeros_like(has_loss)
    predicts[:, :-1] = has_loss[:, 1:]
    owners = torch.tensor([items[index] for index in order])[:, None].expand_as(input_ids)
    return Batch(
        input_ids=input_ids,
        lengths=lengths,
        shared=_shared_with_previous(input_ids, lengths),
        predicts=predicts,
        targets=input_ids[:, 1:][has_loss[:, 1:]],
        items=owners[predicts],
    )


def _shared_with_previous(input_ids: Tensor, lengths: Tensor) -> Tensor:
    within_both = torch.arange(input_ids.shape[1]) < torch.minimum(lengths[1:], lengths[:-1])[:, None]
    same = (input_ids[1:] == input_ids[:-1]) & within_both
    return torch.cat([lengths.new_zeros(1), same.long().cumprod(dim=1).sum(dim=1)])


def micro_batches(examples: Sequence[Example], max_tokens: int) -> Iterator[Batch]:
    """Cut examples, sorted by length, into batches of at most ``max_tokens`` padded tokens (one example at least).

    ``Batch.items`` index into ``examples``. What is summed over the micro-batches does not depend on the cuts.
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
