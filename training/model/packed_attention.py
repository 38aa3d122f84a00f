"""Attention over rows packed into one sequence in which what rows share from the start stands once.

A micro-batch of conversations mostly repeats itself: the same system prompt, the same opening of a task's question, and
padding. Packed, every distinct beginning goes through the linear layers exactly once, as one sequence without padding
(the tokens of a prefix tree, row by row). Only here, inside attention, are rows told apart: a token sees the tokens of
its own row up to itself, at the positions they have there, so values and gradients are those of whole rows.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel

IMPLEMENTATION = "packed_rows"
ORDINARY = "_attention_without_packing"
"""Attribute of a packing model: the implementation it had, which is not the same for every architecture."""


@dataclass(frozen=True, slots=True)
class PackedLayout:
    """Where the tokens of each row are in the packed sequence.

    Attributes:
        places: [rows, length] int64, index in the packed sequence of the token at each position of each row; anything
            where a row has ended.
        own: [rows, longest own part] int64, the positions that each row does not share with the row before it.
        kept: [packed length] int64, where the packed sequence's tokens stand in ``own``, flattened: the others are
            places where a row's own part has ended.
    """

    places: Tensor
    own: Tensor
    kept: Tensor

    @classmethod
    def of(cls, shared: Tensor, lengths: Tensor) -> "PackedLayout":
        """The layout of rows of ``lengths`` [rows] that share ``shared`` [rows] leading tokens with the row before."""
        positions = torch.arange(int(lengths.max()), device=lengths.device)
        first_here = (positions >= shared[:, None]) & (positions < lengths[:, None])
        owned = torch.zeros_like(first_here, dtype=torch.int64)
        owned[first_here] = torch.arange(int(first_here.sum()), device=lengths.device)
        # A shared token stands where the nearest row above that does not share its position put it.
        rows = torch.arange(len(lengths), device=lengths.device)[:, None]
        places = owned.gather(0, torch.where(first_here, rows, 0).cummax(dim=0).values)
        own = shared[:, None] + torch.arange(int((lengths - shared).max()), device=lengths.device)
        # Found once and on the CPU, not as a mask in every layer, where a GPU would stop to learn how many there are.
        kept = (own < lengths[:, None]).flatten().nonzero().squeeze(1)
        return cls(places, own.clamp(max=len(positions) - 1), kept)

    def to(self, device: torch.device) -> "PackedLayout":
        """The layout on ``device``."""
        return PackedLayout(self.places.to(device), self.own.to(device), self.kept.to(device))

    def packed(self, entries: Tensor) -> Tensor:
        """Entries [rows, longest own part, ...] as one sequence [packed length, ...]."""
        return entries.flatten(0, 1).index_select(0, self.kept)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packed_layout: PackedLayout | None = None,
    sliding_window: int | None = None,
    **terms: Any,
) -> tuple[Tensor, None]:
    """Attention for transformers' interface; query, key and value are [1, heads, packed length, dim].

    Raises:
        ValueError: the model asks for something that would change values here; it then runs on whole rows.
    """
    unknown = [name for name in ("softcap", "s_aux", "position_bias") if terms.get(name) is not None]
    if packed_layout is None or attention_mask is not None or dropout or unknown:
        raise ValueError(f"packed rows do not support {unknown or 'this call'}")
    places, own = packed_layout.places, packed_layout.own
    shared_heads = query.shape[1] // key.shape[1]
    if shared_heads > 1:
        key, value = key.repeat_interleave(shared_heads, dim=1), value.repeat_interleave(shared_heads, dim=1)
    distance = own[:, :, None] - torch.arange(places.shape[1], device=places.device)
    seen = distance >= 0 if sliding_window is None else (distance >= 0) & (distance < sliding_window)
    attended = functional.scaled_dot_product_attention(
        _rows(query, places.gather(1, own)),
        _rows(key, places),
        _rows(value, places),
        attn_mask=seen[:, None],
        scale=scaling,
    )
    return packed_layout.packed(attended.transpose(1, 2))[None], None


def _rows(packed: Tensor, places: Tensor) -> Tensor:
    """Entries [rows, heads, n, dim] of ``packed`` [1, heads, length, dim] at ``places`` [rows, n]."""
    return packed[0].index_select(1, places.reshape(-1)).unflatten(1, places.shape).transpose(0, 1)


def enable_packing(model: PreTrainedModel) -> None:
    """Let the model's forward pass take ``packed_layout``; generation needs :func:`disable_packing` first."""
    AttentionInterface.register(IMPLEMENTATION, packed_attention)
    if not is_packing(model):
        setattr(model, ORDINARY, model.config._attn_implementation)
    model.set_attn_implementation(IMPLEMENTATION)


def disable_packing(model: PreTrainedModel) -> None:
    """Give the model its ordinary attention back; nothing happens where it has it."""
    if is_packing(model):
        model.set_attn_implementation(getattr(model, ORDINARY))


def is_packing(model: PreTrainedModel) -> bool:
    """Whether the model's forward pass takes ``packed_layout``."""
    return model.config._attn_implementation == IMPLEMENTATION
