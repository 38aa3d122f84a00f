"""Hessians of the answer-token loss by curvlinops and hessian-eigenthings, on the same model, packed rows and loss.

Both tools average the micro-batches' mean losses: curvlinops by what ``batch_size_fn`` says of each (rows, in its
documentation), hessian-eigenthings equally. That is the mean over answer tokens only where all micro-batches have
equally many. Given our loss they are spared logits that nobody needs, which their recipes for language models compute.
"""

from collections.abc import Sequence
from typing import Any

import torch
from curvlinops import HessianLinearOperator
from hessian_eigenthings.operators import HessianOperator as EigenthingsHessian
from torch import Tensor
from torch.nn import Module, Parameter
from transformers import PreTrainedModel

from training.model.batching import Batch
from training.model.loss import answer_logits, answer_losses


class _SiluByFormula(Module):
    """The native SiLU has no forward-mode derivative on a CPU, which curvlinops takes."""

    def forward(self, values: Tensor) -> Tensor:
        return values * torch.sigmoid(values)


class _AnswerLogits(Module):
    """A model as curvlinops wants it: a module that takes a mapping to predictions."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: dict[str, Any]) -> Tensor:
        return answer_logits(self.model, inputs["batch"])


def rows_of(inputs: dict[str, Any]) -> int:
    """Rows of a micro-batch, the batch size of curvlinops' documentation."""
    return len(inputs["batch"].lengths)


def answer_tokens_of(inputs: dict[str, Any]) -> int:
    """Answer tokens of a micro-batch, with which curvlinops averages over all of them."""
    return inputs["batch"].answer_tokens


def curvlinops_hessian(
    model: PreTrainedModel, parameters: dict[str, Parameter], batches: Sequence[Batch], batch_size: Any = rows_of
) -> HessianLinearOperator:
    """The Hessian by forward over reverse mode; multiply by ``@``, inside ``twice_differentiable()``.

    Replaces the model's SiLU by its formula.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__ in ("SiLU", "SiLUActivation"):
                setattr(module, name, _SiluByFormula())
    return HessianLinearOperator(
        _AnswerLogits(model),
        torch.nn.CrossEntropyLoss(),
        list(parameters.values()),
        [({"batch": batch}, batch.targets) for batch in batches],
        batch_size_fn=batch_size,
        check_deterministic=False,
    )


def eigenthings_hessian(
    model: PreTrainedModel, parameters: dict[str, Parameter], batches: Sequence[Batch]
) -> EigenthingsHessian:
    """The Hessian by double backward; multiply by ``@``, inside ``twice_differentiable()``."""
    return EigenthingsHessian(
        model,
        batches,
        lambda model, batch: answer_losses(model, batch, "cross-entropy")[0].mean(),
        param_filter=lambda name, _: name in parameters,
    )
