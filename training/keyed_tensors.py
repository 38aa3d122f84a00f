"""Safetensors files with a hash of what they hold: what :mod:`training.keyed_file` is to arrays, for whole models."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from training.run_directory import replacing

DAMAGED = (OSError, SafetensorError, KeyError, ValueError, TypeError)
"""What damage surfaces as where a file is opened and read."""


def save_keyed_tensors(path: Path, key: str, tensors: Mapping[str, Tensor], seconds: float) -> None:
    """Write ``tensors``, the ``key`` of what they were made from and the ``seconds`` it took, atomically."""
    contents = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    sha256 = tensors_hash([key], contents, contents.__getitem__)
    with replacing(path) as temporary:
        save_file(contents, temporary, {"key": key, "sha256": sha256, "seconds": f"{seconds:.3f}"})


def stored_tensors_key(path: Path) -> str | None:
    """The key of the file, or None where there is none or any of its tensors is damaged; reads all of it."""
    try:
        with safe_open(path, framework="pt") as file:
            head = file.metadata()
            found = tensors_hash([head["key"]], file.keys(), file.get_tensor)
            return head["key"] if head["sha256"] == found else None
    except DAMAGED:
        return None


def stored_seconds(path: Path) -> float | None:
    """How long it took to make what the file holds, or None where there is no file or it does not say."""
    try:
        with safe_open(path, framework="pt") as file:
            return float(file.metadata()["seconds"])
    except DAMAGED:
        return None


def tensors_hash(texts: Iterable[str], names: Iterable[str], tensor: Callable[[str], Tensor]) -> str:
    """SHA-256 over ``texts``, and over name, dtype, shape and bytes of every tensor in the order of their names."""
    digest: Any = hashlib.sha256()
    for text in texts:
        digest.update(text.encode())
    for name in sorted(names):
        value = tensor(name)
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).cpu().numpy())
    return digest.hexdigest()
