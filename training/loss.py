"""The one loss: a sum over answer tokens, which callers divide by the global number of answer tokens.

A mean per micro-batch would weight tokens by the batch they fell into; every use (training, gradients, evaluation) sums
here and divides once. Two things keep a forward pass lean, and neither changes a value: logits are computed at answer
positions only, and the prefix that all rows of a batch share (a system prompt, mostly) goes through the model once, its
keys and values serving every row, with gradients flowing back into them.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from training.batching import Batch

SHORTEST_SHARED_PREFIX = 4


@contextlib.contextmanager
def _head_at(model: PreTrainedModel, positions: Tensor) -> Iterator[None]:
    """Let the output head see only the hidden states at ``positions`` [rows, length] bool.

    The selection happens at the entrance of the head, so that whatever the architecture does after it (scaling,
    soft-capping) still applies.
    """
    head = model.get_output_embeddings()
    assert head is not None, "a causal language model has an output head"
    selection = head.register_forward_pre_hook(lambda _, arguments: (arguments[0][positions],))
    try:
        yield
    finally:
        selection.remove()


def answer_logits(model: PreTrainedModel, batch: Batch, share_prefix: bool) -> Tensor:
    """Logits [answer tokens, vocabulary] at the positions that predict an answer token."""
    cache, prefix = None, 0
    rows = batch.input_ids.shape[0]
    if share_prefix and rows > 1 and batch.prefix_length >= SHORTEST_SHARED_PREFIX:
        prefix = batch.prefix_length
        with _head_at(model, batch.predicts[:1, :prefix]):
            cache = model(input_ids=batch.input_ids[:1, :prefix], use_cache=True).past_key_values
        cache.batch_repeat_interleave(rows)
    with _head_at(model, batch.predicts[:, prefix:]):
        suffix = batch.input_ids[:, prefix:]
        return model(input_ids=suffix, past_key_values=cache, use_cache=cache is not None).logits


def can_share_prefix(model: PreTrainedModel) -> bool:
    """Whether a shared prefix gives this model the same logits as whole rows, found out by trying.

    Recurrent layers, caches that drop old positions and gradient checkpointing do not; most decoders do.
    """
    device = model.device
    ids = torch.arange(3 * 12, device=device).reshape(3, 12) % 7
    ids[:, :6] = ids[0, :6]
    predicts = torch.zeros_like(ids, dtype=torch.bool)
    predicts[:, 8:] = True
    nothing = ids.new_zeros(0)
    batch = Batch(ids, predicts, nothing, nothing, tokens=ids.numel(), prefix_length=6)
    with torch.no_grad():
        whole = answer_logits(model, batch, share_prefix=False)
        try:
            shared = answer_logits(model, batch, share_prefix=True)
        except Exception:  # whatever a foreign architecture raises here, whole rows still work
            return False
    return torch.allclose(shared, whole, rtol=1e-3, atol=1e-3 * float(whole.abs().max()))


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


def answer_losses(model: PreTrainedModel, batch: Batch, objective: str, share_prefix: bool) -> tuple[Tensor, Tensor]:
    """Loss [answer tokens] and whether the most likely token is the target [answer tokens, bool]."""
    logits = answer_logits(model, batch, share_prefix)
    return OBJECTIVES[objective](logits, batch.targets), logits.detach().argmax(dim=1) == batch.targets
