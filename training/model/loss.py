"""The one loss: a sum over answer tokens, which callers divide by the global number of answer tokens.

A mean per micro-batch would weight tokens by the batch they fell into; every use (training, gradients, evaluation) sums
here and divides once. Two things keep a pass lean, and neither changes a value: logits are computed at answer positions
only, and rows are packed behind their shared prefix where the architecture allows it.
"""

import contextlib
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from training.model.batching import Batch
from training.model.packed_attention import PackedLayout, disable_packing, enable_packing, is_packing


@contextlib.contextmanager
def _head_at(model: PreTrainedModel, places: tuple[Tensor, ...]) -> Iterator[None]:
    """Let the output head see only the hidden states at ``places``, an index into [rows, length].

    The selection happens at the entrance of the head, so that whatever the architecture does after it (scaling,
    soft-capping) still applies.
    """
    head = model.get_output_embeddings()
    assert head is not None, "a causal language model has an output head"
    selection = head.register_forward_pre_hook(lambda _, arguments: (arguments[0][places],))
    try:
        yield
    finally:
        selection.remove()


def answer_logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Logits [answer tokens, vocabulary] at the positions that predict an answer token, row by row.

    Rows are packed if :func:`pack_if_possible` has enabled that for the model, else they go through it padded.
    """
    if not is_packing(model):
        places = tuple(indices.to(model.device) for indices in batch.predicts.nonzero(as_tuple=True))
        with _head_at(model, places):
            return model(input_ids=batch.input_ids.to(model.device), use_cache=False).logits
    layout = PackedLayout.of(batch.shared, batch.lengths)
    positions = layout.packed(layout.own)
    ids = layout.packed(batch.input_ids.gather(1, layout.own))
    predicting = layout.places[batch.predicts].to(model.device)
    with _head_at(model, (torch.zeros_like(predicting), predicting)):
        return model(
            input_ids=ids[None].to(model.device),
            position_ids=positions[None].to(model.device),
            packed_layout=layout.to(model.device),
            use_cache=False,
        ).logits


def pack_if_possible(model: PreTrainedModel) -> bool:
    """Enable packing if it gives this model the logits of whole rows, found out by trying; return whether it does.

    Architectures whose layers are not all attention, or whose attention has terms of its own, run on whole rows.
    """
    shared, lengths = torch.tensor([0, 6, 3]), torch.tensor([12, 10, 11])
    ids = torch.arange(3 * 12).reshape(3, 12) % 7
    ids[1, :6], ids[2, :3] = ids[0, :6], ids[0, :3]
    predicts = torch.zeros_like(ids, dtype=torch.bool)
    predicts[:, 2:10] = True
    nothing = ids.new_zeros(0)
    batch = Batch(ids, lengths, shared, predicts, nothing, nothing)
    with torch.no_grad():
        whole = answer_logits(model, batch)
        try:
            enable_packing(model)
            packed = answer_logits(model, batch)
        except Exception:  # whatever a foreign architecture raises here, whole rows still work
            disable_packing(model)
            return False
    scale = float(whole.abs().max())
    if math.isfinite(scale) and torch.allclose(packed, whole, rtol=1e-3, atol=1e-3 * scale):
        return True
    disable_packing(model)
    return False


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of each target, in nats."""
    return functional.cross_entropy(_at_least_float32(logits), targets, reduction="none")


def squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    """Half the squared distance of the logits from the one-hot target; quadratic in a linear head's weights."""
    wide = _at_least_float32(logits)
    at_target = wide.gather(1, targets[:, None]).squeeze(1)
    return 0.5 * (wide.square().sum(dim=1) - 2 * at_target + 1)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": cross_entropy,
    "squared-error": squared_error,
}


def answer_losses(model: PreTrainedModel, batch: Batch, objective: str) -> tuple[Tensor, Tensor]:
    """Loss [answer tokens] and whether the most likely token is the target [answer tokens, bool]."""
    logits = answer_logits(model, batch)
    targets = batch.targets.to(logits.device)
    return OBJECTIVES[objective](logits, targets), logits.detach().argmax(dim=1) == targets
