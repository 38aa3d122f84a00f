"""A Lanczos process on disk: saved whole or not at all, continued bit for bit on the same machine."""

import json
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from diagnostics.curvature.lanczos_state import LanczosState


def save_checkpoint(path: Path, state: LanczosState, settings: dict[str, str]) -> None:
    """Write ``state`` to ``path`` (safetensors), replacing what was there only once the new file is complete.

    Args:
        path: file to write.
        state: the process after any of its products.
        settings: what a continuation must agree on, by name.
    """
    tensors = {
        "basis": state.basis.rows[: state.basis.count],
        "projection": state.projection,
        "found": state.found,
        "generator": state.generator.get_state(),
        "coupling": torch.tensor(state.coupling, dtype=torch.float64),
        "counts": torch.tensor([state.multiplied, state.products, state.found_after]),
    }
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata={"settings": json.dumps(settings)})
    os.replace(partial, path)


def load_checkpoint(path: Path, state: LanczosState, settings: dict[str, str]) -> None:
    """Bring a fresh ``state`` to where the one saved at ``path`` was.

    That both multiply the same operator is not checked here; the true residuals at the end reveal another one.

    Raises:
        ValueError: the file was saved under other settings.
    """
    with safe_open(path, framework="pt") as file:
        saved = json.loads((file.metadata() or {}).get("settings", "{}"))
        for name, value in settings.items():
            if saved.get(name) != value:
                raise ValueError(
                    f"checkpoint {path} was saved with {name} = {saved.get(name)} and {value} is asked for; "
                    "delete it or ask for what it holds"
                )
        basis = file.get_slice("basis")
        state.basis.count = basis.get_shape()[0]
        for index in range(state.basis.count):
            state.basis.rows[index] = basis[index]
        state.projection = file.get_tensor("projection")
        state.found = file.get_tensor("found")
        state.generator.set_state(file.get_tensor("generator"))
        state.coupling = file.get_tensor("coupling").item()
        state.multiplied, state.products, state.found_after = file.get_tensor("counts").tolist()
