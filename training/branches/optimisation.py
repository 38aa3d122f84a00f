"""Optimiser, learning-rate schedule and clipping of a branch."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import SGD, AdamW, Optimizer

from training.config import BranchSettings


def make_optimizer(settings: BranchSettings, parameters: Iterable[Parameter]) -> Optimizer:
    """AdamW or SGD, in torch's fused form."""
    if settings.optimizer == "sgd":
        return SGD(
            parameters,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    return AdamW(
        parameters,
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def learning_rate(settings: BranchSettings, step: int, steps: int) -> float:
    """The rate of step ``step`` (from 0) of ``steps``: linear warm-up, then constant, linear or cosine decay.

    >>> learning_rate(BranchSettings(learning_rate=0.5, schedule="constant", warmup_fraction=0), 3, 10)
    0.5
    """
    warmup = math.ceil(settings.warmup_fraction * steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    shape = {"constant": 1.0, "linear": 1 - progress, "cosine": 0.5 * (1 + math.cos(math.pi * progress))}
    floor = 1.0 if settings.schedule == "constant" else settings.final_fraction
    return settings.learning_rate * (floor + (1 - floor) * shape[settings.schedule])


def step_size(rate: float, norm: float, limit: float | None) -> float:
    """What a step multiplies its gradient by: the learning rate, less where a norm above ``limit`` is clipped to it.

    >>> step_size(0.5, norm=4.0, limit=1.0)
    0.125
    """
    return rate if limit is None or norm <= limit else rate * limit / norm


def squared_norm(values: Tensor) -> Tensor:
    """Sum of squares of a tensor (float64, no dimensions): rows in its own dtype, the sum over rows in float64."""
    values = torch.atleast_1d(values)
    rows = torch.linalg.vector_norm(values.reshape(-1, values.shape[-1]), dim=1)
    return rows.double().square().sum()


def clip_gradients(gradients: list[Tensor], limit: float | None) -> float:
    """Scale gradients in place so that their joint norm is at most ``limit``; return the norm before.

    Only rows are summed in the gradient's own dtype, the rest in float64: one fp32 reduction over 10⁸ entries is off
    by a per cent, and casting every entry costs ten times as much as this.
    """
    norm = math.sqrt(sum(squared_norm(gradient) for gradient in gradients))
    if limit is not None and limit < norm < math.inf:
        torch._foreach_mul_(gradients, limit / norm)
    return norm
