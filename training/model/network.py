"""One network in memory, whose weights go to any point that checkpoints on disk span."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import Parameter

from training.errors import InputError
from training.model.load import choose_trainable, load_model

Point = Mapping[str, float]
"""A combination of checkpoints: coefficients by name, with sum one."""

CHUNK = 2**18
"""Entries that are summed at a time: what belongs to them stays in the processor's cache."""


class StoredWeights:
    """The tensors of a model folder, read one by one; none stays in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._files: dict[str, Any] = {}
        self._finite: set[str] = set()
        for path in sorted(folder.glob("*.safetensors")):
            file = self._stack.enter_context(safe_open(path, framework="pt"))
            self._files |= dict.fromkeys(file.keys(), file)

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def tensor(self, name: str) -> Tensor:
        """The tensor of this name, in the dtype it is stored in, on the CPU; whether it is finite is looked up once.

        Raises:
            InputError: the folder holds none of this name, or it has an entry that is not finite.
        """
        if name not in self._files:
            raise InputError(
                f"{self._folder} stores no tensor {name!r}, which the model runs with; load it and save it again with "
                "save_pretrained"
            )
        tensor = self._files[name].get_tensor(name)
        if name not in self._finite:
            if not torch.isfinite(tensor).all():
                raise InputError(
                    f"tensor {name!r} in {self._folder} has entries that are not finite; train or copy it anew"
                )
            self._finite.add(name)
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
        anchor = max(point, key=lambda name: abs(point[name]))
        others = {name: factor for name, factor in point.items() if name != anchor and factor != 0}
        for name, parameter in self.parameters.items():
            parameter.copy_(self._stored[anchor].tensor(name))
            if others:
                tensors = [self._stored[other].tensor(name).view(-1).split(CHUNK) for other in others]
                for here, *there in zip(parameter.view(-1).split(CHUNK), *tensors, strict=True):
                    _add_differences(here, there, others.values())

    @torch.no_grad()
    def perturb(self, noise: Callable[[str, Tensor], Tensor | None]) -> None:
        """Add ``noise(name, parameter)`` to every parameter; where it is None the parameter stays as it is."""
        for name, parameter in self.parameters.items():
            shift = noise(name, parameter)
            if shift is not None:
                parameter.add_(shift)

    @torch.no_grad()
    def stretch(self, checkpoint: str, factor: float) -> None:
        """Multiply by ``factor`` what every parameter is away from ``checkpoint``; a negative factor mirrors it there.

        So noise of another size costs no new noise. Where the factor is at most one in size, the rounding error of a
        weight stays below its own epsilon.
        """
        for name, parameter in self.parameters.items():
            parameter.lerp_(self._stored[checkpoint].tensor(name).to(parameter), 1 - factor)

    @contextlib.contextmanager
    def differentiated(self, patterns: Sequence[str]) -> Iterator[dict[str, Parameter]]:
        """Inside the block, the parameters whose names match a pattern carry gradients; outside, none does.

        Raises:
            InputError: a pattern matches nothing.
        """
        try:
            yield choose_trainable(self.model, patterns, "differentiated parameters")
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


def _add_differences(here: Tensor, there: Sequence[Tensor], factors: Iterable[float]) -> None:
    """Move ``here`` [n] by the sum of the differences of ``there`` from it, times their factors."""
    shift = torch.zeros_like(here)
    for tensor, factor in zip(there, factors, strict=True):
        shift.add_(tensor.to(here) - here, alpha=factor)
    here.add_(shift)
