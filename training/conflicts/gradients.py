"""One streaming pass over a task's calibration examples: micro-batch gradients, compressed as they appear.

Each parameter's gradient is compressed and dropped the moment backward has finished it, so that no full gradient is
ever held. Micro-batches are random groups of examples, not length buckets: their spread is the sampling noise of the
task's gradient, from which reliability and error bars follow.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Parameter
from transformers import PreTrainedModel

from training.conflicts.sketch import SignedSketch, Stride, fold
from training.errors import InputError
from training.interruption import Interrupted
from training.model.batching import Example, collate
from training.model.load import autocast
from training.model.loss import answer_losses, pack_if_possible


@dataclass(frozen=True, slots=True)
class TaskGradients:
    """Compressed gradients of one task at the start.

    Attributes:
        sums: [n_kept, k] float32, gradients of the loss summed over answer tokens; one row per micro-batch, or fewer.
        counts: [n_kept] int64, those answer tokens.
        norms: [n_microbatches] float64, exact norms of the uncompressed sums.
        participation: [n_microbatches] float64, effective number of entries (Σg²)² / Σg⁴ of the uncompressed sums.
        groups: names of the parameter groups.
        group_sums: [n_groups, k_group] float32, sketch of the whole task's gradient sum, per parameter group.
    """

    sums: NDArray[np.float32]
    counts: NDArray[np.int64]
    norms: NDArray[np.float64]
    participation: NDArray[np.float64]
    groups: tuple[str, ...]
    group_sums: NDArray[np.float32]


def parameter_group(name: str) -> str:
    """The group of a parameter: its name up to the module inside its layer, else without its last part.

    >>> parameter_group("model.layers.3.self_attn.q_proj.weight")
    'model.layers.3.self_attn'
    >>> parameter_group("model.embed_tokens.weight")
    'model.embed_tokens'
    """
    parts = name.split(".")
    layer = next((index for index, part in enumerate(parts) if part.isdigit()), None)
    return ".".join(parts[:-1] if layer is None else parts[: layer + 2])


@dataclass(slots=True)
class _Moments:
    """Σg² and Σg⁴ over all entries of one micro-batch's gradient, in float64."""

    second: float = 0.0
    fourth: float = 0.0

    def add(self, gradient: Tensor) -> None:
        # Rows in fp32, rows' sums in float64: one fp32 reduction over 10⁸ entries is off by per cents.
        rows = torch.atleast_1d(gradient)
        squares = rows.reshape(-1, rows.shape[-1]).square()
        self.second += squares.sum(dim=1).double().sum().item()
        self.fourth += squares.square_().sum(dim=1).double().sum().item()


def task_gradients(
    model: PreTrainedModel,
    trainable: Mapping[str, Parameter],
    examples: Sequence[Example],
    groups_of_examples: Sequence[Sequence[int]],
    compression: SignedSketch | Stride,
    *,
    objective: str,
    precision: str,
    group_sketch_size: int,
    seed: int,
    keep: int,
    report: Callable[[int], None],
    stopping: Callable[[], bool],
) -> TaskGradients:
    """Run the pass over ``groups_of_examples``, lists of indices into ``examples``.

    Micro-batch i is kept in row i mod ``keep``: as many rows as micro-batches for sketches, two for uncompressed
    strides. ``report`` is called with the tokens of each finished micro-batch, ``stopping`` is asked before each.

    Raises:
        InputError: a gradient that is not finite.
        Interrupted: ``stopping`` said so; the pass begins anew next time.
    """
    accumulators: dict[str, Tensor] = defaultdict(compression.zeros)
    moments = _Moments()
    by_group = isinstance(compression, SignedSketch)

    def compress(name: str, parameter: Parameter) -> None:
        gradient = parameter.grad
        assert gradient is not None
        compression.add(accumulators[parameter_group(name) if by_group else ""], name, gradient)
        moments.add(gradient)
        parameter.grad = None

    hooks = [
        parameter.register_post_accumulate_grad_hook(lambda parameter, name=name: compress(name, parameter))
        for name, parameter in trainable.items()
    ]
    pack_if_possible(model)
    sums = np.zeros((keep, compression.size), np.float32)
    counts = np.zeros(keep, np.int64)
    norms, participation = [], []
    total = compression.zeros()
    try:
        for number, indices in enumerate(groups_of_examples):
            if stopping():
                raise Interrupted("the gradient pass was stopped")
            batch = collate([examples[index] for index in indices], indices)
            moments.second = moments.fourth = 0.0
            with autocast(precision, model.device):
                losses, _ = answer_losses(model, batch, objective)
            losses.sum().backward()
            if not np.isfinite(moments.second):
                raise InputError(
                    f"the gradient of calibration micro-batch {number} is not finite; check its rows and the model"
                )
            # The accumulators run over the whole task; what they gained since the last micro-batch is this one's.
            cumulative = torch.stack(list(accumulators.values())).sum(dim=0)
            sums[number % keep] += compression.finish(cumulative - total).float().cpu().numpy()
            counts[number % keep] += batch.answer_tokens
            total = cumulative
            norms.append(moments.second**0.5)
            participation.append(moments.second**2 / moments.fourth if moments.fourth > 0 else 0.0)
            report(int(batch.lengths.sum()))
    finally:
        for hook in hooks:
            hook.remove()
    names = tuple(accumulators) if by_group else ()
    folded = [
        fold(compression.finish(accumulators[name]).float().cpu().numpy(), group_sketch_size, seed) for name in names
    ]
    return TaskGradients(
        sums=sums,
        counts=counts,
        norms=np.array(norms),
        participation=np.array(participation),
        groups=names,
        group_sums=np.stack(folded) if folded else np.zeros((0, group_sketch_size), np.float32),
    )
