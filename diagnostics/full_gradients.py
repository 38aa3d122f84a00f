"""Inner products of the tasks' whole gradients, and of every n-th entry of them, in as much memory as is given."""

from collections.abc import Sequence
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

from diagnostics.bench import Bench
from diagnostics.curvature.parameters import VectorLayout
from diagnostics.task_gradients import gradient_of
from training.model.batching import Example

CHUNK = 2**16
"""Entries of each gradient that are cast to float64 at a time; all gradients' together stay in the cache."""


def gradient_passes(bench: Bench, tasks: int, budget_gb: float) -> list[list[str]]:
    """Names of the trained parameters, in order, cut so that all tasks' gradients over each part fit the budget.

    Every part takes a pass over all examples. A parameter that is larger than the budget is a part of its own.
    """
    parts: list[list[str]] = []
    filled = 0.0
    for name in bench.trained:
        parameter = bench.network.parameters[name]
        size = tasks * parameter.numel() * parameter.element_size() / 1e9
        if not parts or filled + size > budget_gb:
            parts.append([])
            filled = 0.0
        parts[-1].append(name)
        filled += size
    return parts


def full_gram_matrices(
    bench: Bench, examples: Sequence[Sequence[Example]], names: Sequence[str], stride: int, budget_gb: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Inner products where the network is, exact, and over the entries at multiples of ``stride`` alone.

    Args:
        bench: its network and trained parameters.
        examples: of each task; its gradient is that of the loss per answer token.
        names: of the tasks.
        stride: all parameters stand in one vector, of which every so-manieth entry is kept (the paper's section 4).
        budget_gb: memory for gradients.

    Returns:
        float64 [n_tasks, n_tasks] each.

    Raises:
        InputError: a gradient is not finite.
    """
    full, strided = (np.zeros((len(examples), len(examples))) for _ in range(2))
    position = 0
    for part in gradient_passes(bench, len(examples), budget_gb):
        with bench.network.differentiated(part) as found:
            parameters = {name: found[name] for name in part}
            rows = torch.stack(
                [gradient_of(bench, own, parameters, name) for own, name in zip(examples, names, strict=True)]
            )
        full += _gram(rows)
        strided += _gram(rows[:, -position % stride :: stride])
        position += VectorLayout.of(parameters).dimension
    return full, strided


def _gram(rows: torch.Tensor) -> NDArray[np.float64]:
    gram = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    for number in range(ceil(rows.shape[1] / CHUNK)):
        piece = rows[:, number * CHUNK : (number + 1) * CHUNK].double()
        gram += piece @ piece.T
    return gram.cpu().numpy()
