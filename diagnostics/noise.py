"""Gaussian noise on weights, made anew from a seed whenever it is needed and never stored for a whole model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diagnostics.bench import Bench
from diagnostics.curvature.reductions import dot

NoiseKind = Literal["isotropic", "filter-normalised"]


@dataclass(frozen=True, slots=True)
class Noise:
    r"""One draw of noise on the weights that were trained, for :meth:`training.model.network.Network.perturb`.

    Both kinds start from the same standard normal $z$, drawn on the CPU in float32 and cast, so that neither the device
    nor the precision of the network changes it.

    - ``isotropic``: $s z$, where ``scale`` $s$ is an absolute size in units of the weights, one for all of them.
    - ``filter-normalised`` (Li et al. 2018, arXiv 1712.09913): each row $w$ of a weight matrix (all entries that make
      one output) gets $s \lVert w \rVert z / \lVert z \rVert$, so ``scale`` is relative. Parameters with one dimension,
      such as RMSNorm weights and biases, get none, as in that paper: they have no rows to compare with, and scaling one
      up while the next matrix is scaled down leaves the noise in the function the same.

    Attributes:
        kind: which of the two.
        scale: size of the noise.
        seeds: by the name of each parameter that gets noise.
    """

    kind: NoiseKind
    scale: float
    seeds: Mapping[str, int]

    def __call__(self, name: str, parameter: Tensor) -> Tensor | None:
        """Noise of ``parameter``'s shape, dtype and device; None for a parameter that gets none."""
        if name not in self.seeds or (self.kind == "filter-normalised" and parameter.dim() < 2):
            return None
        generator = torch.Generator().manual_seed(self.seeds[name])
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32).to(parameter)
        if self.kind == "isotropic":
            return noise.mul_(self.scale)
        rows = noise.view(len(noise), -1)
        norms = torch.linalg.vector_norm(parameter.view(len(noise), -1), dim=1)
        rows.mul_((self.scale * norms / torch.linalg.vector_norm(rows, dim=1))[:, None])
        return noise


def noise_seeds(bench: Bench, purpose: str, draw: int) -> dict[str, int]:
    """A seed for every parameter that was trained, in draw number ``draw``."""
    return {name: int(bench.generator(purpose, f"{draw} {name}").integers(2**63 - 1)) for name in bench.trained}


@torch.no_grad()
def noised_weights(bench: Bench, checkpoint: str, kind: NoiseKind) -> tuple[float, int]:
    """Euclidean norm, summed in float64, and number of a checkpoint's weights that get noise of this kind."""
    squares, entries = [], 0
    for name, weights in bench.network.combination({checkpoint: 1.0}):
        if name in bench.trained and (kind == "isotropic" or weights.dim() > 1):
            squares.append(dot(weights.view(-1), weights.view(-1)))
            entries += weights.numel()
    return math.sqrt(math.fsum(squares)), entries
