"""How far a branch has moved from its start, and in which direction: θ - θ⁰, sketched over the course of training."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from training.branches.optimisation import squared_norm
from training.conflicts.sketch import SignedSketch
from training.model.load import load_model
from training.run_directory import replacing


class Displacement:
    """Norms and sketches of θ - θ⁰ at chosen steps.

    Sketches have the seed of the run's gradient sketches, so displacements of branches can be compared with one another
    and with the tasks' gradients.
    """

    def __init__(self, start: Path, precision: str, trainable: Mapping[str, Parameter], size: int, seed: int) -> None:
        # A second, untouched load: on a CPU its tensors are mapped from the file and cost no memory of their own.
        reference = load_model(start, precision, torch.device("cpu"))
        self._reference = {name: tensor for name, tensor in reference.named_parameters() if name in trainable}
        first = next(iter(trainable.values()))
        self._sketch = SignedSketch(size, seed, first.device, first.dtype)
        self.steps: list[int] = []
        self.norms: list[float] = []
        self.sketches: list[Tensor] = []

    def measure(self, step: int, trainable: Mapping[str, Parameter]) -> None:
        """Record where the parameters are after ``step`` steps."""
        accumulator = self._sketch.zeros()
        squares = []
        for name, parameter in trainable.items():
            difference = parameter.detach() - self._reference[name].detach().to(parameter.device)
            self._sketch.add(accumulator, name, difference)
            squares.append(squared_norm(difference))
        self.steps.append(step)
        self.norms.append(math.sqrt(sum(squares)))
        self.sketches.append(self._sketch.finish(accumulator).float().cpu())

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps; empty before the first measurement."""
        if not self.steps:
            return {}
        return {
            "steps": torch.tensor(self.steps),
            "norms": torch.tensor(self.norms, dtype=torch.float64),
            "sketches": torch.stack(self.sketches),
        }

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """Go on from what a checkpoint kept."""
        if kept:
            self.steps, self.norms = kept["steps"].tolist(), kept["norms"].tolist()
            self.sketches = list(kept["sketches"])

    def save(self, path: Path) -> None:
        """Write steps [n], norms [n] float64 and sketches [n, size] float32 (NPZ)."""
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, steps=self.steps, norms=self.norms, sketches=torch.stack(self.sketches).numpy())
