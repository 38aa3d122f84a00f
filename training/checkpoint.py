"""Checkpoints of a running branch: one safetensors file with weights, optimiser state and position. No pickles."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from training.errors import InputError
from training.run_directory import replacing


def save_checkpoint(
    path: Path, trainable: Mapping[str, Parameter], optimizer: Optimizer, tensors: Mapping[str, Tensor], position: Any
) -> None:
    """Write everything that continuing bit for bit needs; ``position`` is JSON, ``tensors`` whatever else is kept."""
    contents = {f"weight/{name}": parameter.detach() for name, parameter in trainable.items()}
    for name, parameter in trainable.items():
        for key, value in optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                contents[f"state/{key}/{name}"] = value
    contents |= {f"kept/{name}": tensor for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(
            {name: tensor.contiguous() for name, tensor in contents.items()},
            temporary,
            {"position": json.dumps(position)},
        )


def load_checkpoint(
    path: Path, trainable: Mapping[str, Parameter], optimizer: Optimizer
) -> tuple[dict[str, Tensor], Any]:
    """Restore weights and optimiser state in place; return the kept tensors and the position.

    Raises:
        InputError: the file is damaged, or is of another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            position = json.loads(file.metadata()["position"])
            with torch.no_grad():
                for name, parameter in trainable.items():
                    parameter.copy_(file.get_tensor(f"weight/{name}"))
            for name in names:
                kind, _, rest = name.partition("/")
                if kind == "state":
                    key, _, owner = rest.partition("/")
                    value = file.get_tensor(name)
                    # Adam's step counter lives on the CPU unless it was fused on a device.
                    optimizer.state[trainable[owner]][key] = value.to(trainable[owner].device)
            kept = {name.removeprefix("kept/"): file.get_tensor(name) for name in names if name.startswith("kept/")}
    except (SafetensorError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"checkpoint {path} cannot be used ({error}); remove it to begin the branch again") from None
    return kept, position
