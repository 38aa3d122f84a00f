"""Signed sketches: a linear map from all parameters to k numbers that keeps inner products.

A count sketch with a structured hash (Charikar, Chen and Farach-Colton 2002; the structure is ours). The entries of
a tensor are cut into blocks of k; every block is rotated by a random offset, multiplied by random signs and added to
the k buckets. Two entries of one block never collide, two of different blocks do with probability 1/k, and an
independent sign per block makes the inner product of two sketches unbiased. Offsets and signs follow from (seed,
parameter name, block), so a sketch does not depend on the order in which gradients arrive, and sketches of different
machines can be compared.

Heavy tails are why this is not a subsample: in a language model a few RMSNorm entries hold half of a gradient's squared
norm, and a subsample finds them or misses them, where a sum cannot.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.seeds import child_generator

SIGN_PERIOD = 2**20


@dataclass(frozen=True, slots=True)
class _Layout:
    buckets: list[int]
    signs: list[int]
    flips: list[float]


class SignedSketch:
    """A seeded sketch of ``size`` buckets over named tensors.

    Sketches of one seed and size are comparable whatever the device; tensors are summed in their own dtype.
    """

    def __init__(self, size: int, seed: int, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.size = size
        self._seed = seed
        signs = child_generator(seed, "sketch signs").integers(0, 2, SIGN_PERIOD) * 2 - 1
        # Wrapping the first `size` signs around lets every rotation be a plain slice.
        wrapped = np.concatenate([np.tile(signs, math.ceil(size / SIGN_PERIOD)), signs])[: SIGN_PERIOD + size]
        self._signs = torch.tensor(wrapped, dtype=dtype, device=device)
        self._layouts: dict[str, _Layout] = {}

    def zeros(self) -> Tensor:
        """An empty accumulator [2 · size]; its second half takes what a rotation pushes over the end."""
        return self._signs.new_zeros(2 * self.size)

    def add(self, accumulator: Tensor, name: str, values: Tensor) -> None:
        """Add the sketch of the tensor ``values``, called ``name``, to ``accumulator`` in place."""
        flat = values.detach().reshape(-1).to(self._signs.dtype)
        layout = self._layout(name, flat.numel())
        for block, (bucket, sign, flip) in enumerate(zip(layout.buckets, layout.signs, layout.flips, strict=True)):
            part = flat[block * self.size : (block + 1) * self.size]
            length = part.numel()
            target = accumulator[bucket : bucket + length]
            target.addcmul_(part, self._signs[sign : sign + length], value=flip)

    def finish(self, accumulator: Tensor) -> Tensor:
        """The sketch [size] of an accumulator."""
        return accumulator[: self.size] + accumulator[self.size :]

    def of(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The sketch [size] of named tensors."""
        accumulator = self.zeros()
        for name, values in tensors.items():
            self.add(accumulator, name, values)
        return self.finish(accumulator)

    def _layout(self, name: str, length: int) -> _Layout:
        if name not in self._layouts:
            blocks = math.ceil(length / self.size)
            generator = child_generator(self._seed, "sketch layout", name)
            self._layouts[name] = _Layout(
                buckets=generator.integers(0, self.size, blocks).tolist(),
                signs=generator.integers(0, SIGN_PERIOD, blocks).tolist(),
                flips=(generator.integers(0, 2, blocks) * 2.0 - 1.0).tolist(),
            )
        layout = self._layouts[name]
        assert len(layout.buckets) == math.ceil(length / self.size), f"{name} was sketched with another length before"
        return layout


def fold(sketch: NDArray[np.float32], size: int, seed: int) -> NDArray[np.float32]:
    """Shrink sketches [..., k] to [..., size] by a second, hashed and signed sum; inner products stay unbiased."""
    generator = child_generator(seed, "sketch fold", size)
    length = sketch.shape[-1]
    buckets = generator.permutation(length) % size
    signs = (generator.integers(0, 2, length) * 2 - 1).astype(np.float32)
    flat = (sketch * signs).reshape(-1, length)
    folded = np.stack([np.bincount(buckets, weights=row, minlength=size) for row in flat])
    return folded.reshape(*sketch.shape[:-1], size).astype(np.float32)


class Stride:
    """The paper's compression for comparison (section 4): every n-th entry of the flattened gradient.

    The entries kept start at an offset that continues across tensors, as if all parameters stood in one vector.
    """

    def __init__(self, shapes: Mapping[str, int], stride: int) -> None:
        self._slices: dict[str, tuple[int, int, int]] = {}
        position = kept = 0
        for name, length in shapes.items():
            first = -position % stride
            count = len(range(first, length, stride))
            self._slices[name] = (first, kept, count)
            position, kept = position + length, kept + count
        self._stride = stride
        self.size = kept

    def zeros(self) -> Tensor:
        """An empty accumulator [size] float32."""
        return torch.zeros(self.size)

    def add(self, accumulator: Tensor, name: str, values: Tensor) -> None:
        """Add the kept entries of ``values`` to their places in ``accumulator``."""
        first, start, count = self._slices[name]
        accumulator[start : start + count] += values.detach().reshape(-1)[first :: self._stride].cpu()

    def finish(self, accumulator: Tensor) -> Tensor:
        """The kept entries [size]."""
        return accumulator.clone()
