"""One network in memory, whose weights go to any point that checkpoints on disk span."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import Parameter

from diagnostics.curvature.parameters import parameter_subset
from training.errors import InputError
from training.model import load_model

Point = Mapping[str, float]
"""A combination of checkpoints: coefficients by name, with sum one."""


class StoredWeights:
    """The tensors of a model folder, read one by one; none stays in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._files: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            file = self._stack.enter_context(safe_open(path, framework="pt"))
            self._files |= dict.fromkeys(file.keys(), file)

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def tensor(self, name: str) -> Tensor:
        """The tensor of this name, in the dtype it is stored in, on the CPU.

        Raises:
            InputError: the folder holds none of this name, or it has an entry that is not finite.
        """
        if name not in self._files:
            raise InputError(
                f"{self._folder} stores no tensor {name!r}, which the model runs with; load it and save it again with "
                "save_pretrained"
            )
        tensor = self._files[name].get_tensor(name)
        if not torch.isfinite(tensor).all():
            raise InputError(
                f"tensor {name!r} in {self._folder} has entries that are not finite; train or copy it anew"
            )
        return tensor


class Network:
    """A model whose parameters are moved from point to point; used as a context, which closes the files.

    It is the only model in memory: a point is summed tensor by tensor from what lies on the disk.
    """

    def __init__(self, folders: Mapping[str, Path], precision: str, device: torch.device) -> None:
        self.model = load_model(next(iter(folders.values())), precision, device)
        self.model.requires_grad_(False)
        self.parameters: dict[str, Parameter] = dict(self.model.named_parameters())
        self._stored = {name: StoredWeights(folder) for name, folder in folders.items()}

    def __enter__(self) -> "Network":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stored in self._stored.values():
            stored.close()

    @torch.no_grad()
    def move_to(self, point: Point) -> None:
        """Set every parameter to the combination ``point`` of checkpoints.

        Summed around the checkpoint with the largest coefficient, so that it is exact for a single one and rounded
        about once where checkpoints lie close together.

        Raises:
            ValueError: the coefficients do not sum to one.
            InputError: a checkpoint lacks a parameter or holds one that is not finite.
        """
        total = sum(point.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the coefficients of a point sum to {total:.9g}, not to 1; add the start for the rest")
        for name, value in self.combination(_differences(point)):
            anchor = self._stored[_anchor(point)].tensor(name).to(value.device, value.dtype)
            # Not added to the anchor, which is the file's own memory.
            self.parameters[name].copy_(value.add_(anchor))

    @contextlib.contextmanager
    def differentiated(self, patterns: Sequence[str]) -> Iterator[dict[str, Parameter]]:
        """Inside the block, the parameters whose names match a pattern carry gradients; outside, none does.

        Raises:
            InputError: a pattern matches nothing.
        """
        try:
            yield parameter_subset(self.model, patterns)
        finally:
            self.model.requires_grad_(False)

    def combination(self, coefficients: Mapping[str, float]) -> Iterator[tuple[str, Tensor]]:
        """Each parameter's name with the sum of the checkpoints by ``coefficients``, a new tensor like the parameter.

        Coefficients with sum zero give a displacement, such as ``{"branch-1": 1, "start": -1}``.
        """
        positive = {name: factor for name, factor in coefficients.items() if factor != 0}
        for name, parameter in self.parameters.items():
            total = torch.zeros_like(parameter)
            for checkpoint, factor in positive.items():
                total.add_(self._stored[checkpoint].tensor(name).to(total.device, total.dtype), alpha=factor)
            yield name, total


def _anchor(point: Point) -> str:
    return max(point, key=lambda name: abs(point[name]))


def _differences(point: Point) -> dict[str, float]:
    """What is added to the anchor: its own coefficient less one, the others' as they are."""
    anchor = _anchor(point)
    return {name: factor - 1 if name == anchor else factor for name, factor in point.items()}
