"""The parts of a model that its parameter groups belong to: which layer, and which kind of module."""

import re

KINDS = ("embeddings and head", "attention", "MLP", "norms", "other")

_SIGNS = {
    "norms": re.compile(r"norm|(^|[._])ln(_|\d|$)"),
    "attention": re.compile(r"attn|attention"),
    "MLP": re.compile(r"mlp|feed_forward|ffn|fc\d|moe|expert"),
    "embeddings and head": re.compile(r"embed|wte|wpe|lm_head|embed_out"),
}
"""What a group's name holds, in the order in which it is asked: ``self_attn_layer_norm`` is a norm."""


def layer_of(group: str) -> str:
    """The layer of a parameter group; a group outside the layers is its own.

    >>> layer_of("model.layers.3.self_attn"), layer_of("model.embed_tokens")
    ('model.layers.3', 'model.embed_tokens')
    """
    within = re.match(r".*?\.\d+(?=\.|$)", group)
    return within.group() if within else group


def kind_of(group: str) -> str:
    """One of :data:`KINDS`, by the names that architectures give their modules.

    >>> [kind_of(f"model.layers.3.{name}") for name in ("self_attn", "mlp", "input_layernorm")]
    ['attention', 'MLP', 'norms']
    >>> kind_of("transformer.wte"), kind_of("transformer.h.0.ln_1"), kind_of("transformer.ln_f"), kind_of("adapter")
    ('embeddings and head', 'norms', 'norms', 'other')
    """
    return next((kind for kind, sign in _SIGNS.items() if sign.search(group)), "other")
