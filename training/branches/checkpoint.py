"""Checkpoints of a running branch: one safetensors file with weights, optimiser state and position. No pickles."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from training.keyed_tensors import DAMAGED, tensors_hash
from training.run_directory import replacing


def save_checkpoint(
    path: Path,
    key: str,
    trainable: Mapping[str, Parameter],
    optimizer: Optimizer,
    tensors: Mapping[str, Tensor],
    position: Any,
) -> None:
    """Write everything that continuing bit for bit needs.

    Args:
        path: the file.
        key: hash of what is trained.
        trainable: parameters by name.
        optimizer: theirs.
        tensors: whatever else is kept.
        position: JSON.
    """
    contents = {f"weight/{name}": parameter.detach() for name, parameter in trainable.items()}
    for name, parameter in trainable.items():
        for entry, value in optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                contents[f"state/{entry}/{name}"] = value
    contents |= {f"kept/{name}": tensor for name, tensor in tensors.items()}
    contents = {name: tensor.contiguous() for name, tensor in contents.items()}
    head = {"key": key, "position": json.dumps(position)}
    sha256 = tensors_hash(head.values(), contents, contents.__getitem__)
    with replacing(path) as temporary:
        save_file(contents, temporary, head | {"sha256": sha256})


def load_checkpoint(
    path: Path, key: str, trainable: Mapping[str, Parameter], optimizer: Optimizer
) -> tuple[dict[str, Tensor], Any] | None:
    """Restore weights and optimiser state in place; return the kept tensors and the position.

    None, and nothing is touched, where there is no checkpoint of this ``key`` or it is damaged: the branch then begins
    anew, which costs time and changes nothing else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            head, names = file.metadata(), sorted(file.keys())
            sha256 = tensors_hash([key, head["position"]], names, file.get_tensor)
            if head["key"] != key or head["sha256"] != sha256:
                return None
    except DAMAGED:
        return None
    with safe_open(path, framework="pt") as file:
        _restore(file, names, trainable, optimizer)
        kept = {name.removeprefix("kept/"): file.get_tensor(name) for name in names if name.startswith("kept/")}
    return kept, json.loads(head["position"])


def _restore(file: Any, names: list[str], trainable: Mapping[str, Parameter], optimizer: Optimizer) -> None:
    with torch.no_grad():
        for name, parameter in trainable.items():
            parameter.copy_(file.get_tensor(f"weight/{name}"))
    for name in names:
        kind, _, rest = name.partition("/")
        if kind == "state":
            entry, _, owner = rest.partition("/")
            # Adam's step counter lives on the CPU unless it was fused on a device.
            optimizer.state[trainable[owner]][entry] = file.get_tensor(name).to(trainable[owner].device)
