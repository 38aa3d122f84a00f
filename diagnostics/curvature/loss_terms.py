"""The one loss as curvature sees it: a list of micro-batches, each with its outputs and their losses.

The loss is Σ losses / Σ tokens over all terms together. A mean of the micro-batches' means is another function, whose
Hessian depends on how the examples were cut.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from training.errors import InputError
from training.model.batching import Batch
from training.model.loss import OBJECTIVES, answer_logits, pack_if_possible

AGREEMENT = 100
"""Machine epsilons that two evaluations of one loss may lie apart; some GPU kernels add in no fixed order."""


@dataclass(frozen=True, slots=True)
class LossTerm:
    """One micro-batch's part of a loss.

    Attributes:
        outputs: computes the model's outputs [tokens, outputs] from its present parameters.
        losses: loss [tokens] of such outputs, in nats.
        tokens: how many losses there are.
    """

    outputs: Callable[[], Tensor]
    losses: Callable[[Tensor], Tensor]
    tokens: int

    def total(self) -> Tensor:
        """Sum of the losses, no dimensions."""
        return self.losses(self.outputs()).sum()


def answer_loss_terms(model: PreTrainedModel, batches: Iterable[Batch], objective: str) -> tuple[LossTerm, ...]:
    """The answer-token loss of ``model`` on ``batches``, packed where the architecture allows it."""
    pack_if_possible(model)
    return tuple(_answer_loss_term(model, batch, objective) for batch in batches)


def _answer_loss_term(model: PreTrainedModel, batch: Batch, objective: str) -> LossTerm:
    targets = batch.targets.to(model.device)
    return LossTerm(
        outputs=lambda: answer_logits(model, batch),
        losses=lambda logits: OBJECTIVES[objective](logits, targets),
        tokens=batch.answer_tokens,
    )


def twice_differentiable() -> AbstractContextManager[Any]:
    """Run attention by its plain formula inside: the fused kernels have no second derivative."""
    return sdpa_kernel(SDPBackend.MATH)


def token_count(terms: Sequence[LossTerm]) -> int:
    """Tokens of all terms, after making sure that their loss has a curvature to speak of.

    Raises:
        InputError: no tokens, a loss that is not finite, or one that changes between two evaluations.
    """
    tokens = sum(term.tokens for term in terms)
    if tokens == 0:
        raise InputError("the loss has no answer tokens; give curvature at least one example")
    with torch.no_grad():
        first, second = (torch.stack([term.total() for term in terms]) for _ in range(2))
    loss, again = (totals.double().sum().item() / tokens for totals in (first, second))
    if not math.isfinite(loss):
        raise InputError(f"the loss is {loss}; curvature needs examples and parameters with a finite loss")
    if not torch.allclose(first, second, rtol=AGREEMENT * torch.finfo(first.dtype).eps, atol=0):
        raise InputError(
            f"the loss is not deterministic ({loss:.9g}, then {again:.9g} nats per answer token); "
            "switch dropout off with model.eval()"
        )
    return tokens
