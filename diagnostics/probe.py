"""The examples that everything is measured on, and the losses of a model on each of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from training.errors import InputError
from training.mixture import Task
from training.model.batching import Batch, Example, encode, micro_batches
from training.model.loss import answer_losses


@dataclass(frozen=True, slots=True)
class Probe:
    """Tokenised examples of every task.

    Attributes:
        tasks: names.
        examples: [n_items], those of a task one after the other.
        task: int64 [n_items], index into ``tasks``.
        tokens: int64 [n_items], answer tokens of each item.
        batches: micro-batches over all items.
    """

    tasks: tuple[str, ...]
    examples: tuple[Example, ...]
    task: NDArray[np.int64]
    tokens: NDArray[np.int64]
    batches: tuple[Batch, ...]

    @classmethod
    def of(cls, tasks: Sequence[Task], split: str, per_task: int | None, encoding: "Encoding") -> "Probe":
        """The first ``per_task`` rows of each task's ``split``, all of them if None; rows are shuffled when frozen.

        Raises:
            InputError: a task without rows there, or rows that do not fit the model.
        """
        examples: list[Example] = []
        owners: list[int] = []
        for number, task in enumerate(tasks):
            rows = task.rows(split)[:per_task]
            if not rows:
                raise InputError(f"task {task.name!r} has no {split} rows; give it some or leave the task out")
            examples += encode(rows, encoding.tokenizer, encoding.max_length, task.name)
            owners += [number] * len(rows)
        return cls(
            tasks=tuple(task.name for task in tasks),
            examples=tuple(examples),
            task=np.array(owners),
            tokens=np.array([example.answer_tokens for example in examples]),
            batches=tuple(micro_batches(examples, encoding.batch_tokens)),
        )

    def first(self, per_task: int | None, batch_tokens: int) -> "Probe":
        """The first ``per_task`` items of each task, all of them if None."""
        chosen = self.first_items(per_task)
        examples = tuple(self.examples[item] for item in chosen)
        batches = tuple(micro_batches(examples, batch_tokens))
        return Probe(self.tasks, examples, self.task[chosen], self.tokens[chosen], batches)

    def first_items(self, per_task: int | None) -> NDArray[np.int64]:
        """Positions of the first ``per_task`` items of each task."""
        return np.concatenate([np.flatnonzero(self.task == number)[:per_task] for number in range(len(self.tasks))])

    @property
    def input_tokens(self) -> int:
        """Tokens that pass through the model for one evaluation, shared prefixes counted for every row."""
        return sum(map(len, self.examples))

    def losses(
        self, model: PreTrainedModel, objective: str, advance: Callable[[int], None] = lambda tokens: None
    ) -> NDArray[np.float64]:
        """Loss of each item, nats summed over its answer tokens: float64 [n_items]; infinite or NaN where it is.

        ``advance`` is called with the tokens of every micro-batch.
        """
        losses = torch.zeros(len(self.examples), dtype=torch.float64)
        with torch.inference_mode():
            for batch in self.batches:
                token_losses, _ = answer_losses(model, batch, objective)
                losses.index_add_(0, batch.items, token_losses.double().cpu())
                advance(int(batch.lengths.sum()))
        return losses.numpy()


@dataclass(frozen=True, slots=True)
class Encoding:
    """How rows become micro-batches: tokenizer, longest example and most padded tokens of a micro-batch."""

    tokenizer: Any
    max_length: int
    batch_tokens: int
