"""A model's parameters as one vector and back."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class VectorLayout:
    """Where each parameter stands in the vector of all of them, in the order of their names here.

    Attributes:
        shapes: shape of each parameter, by name.
        device: where all of them live.
        dtype: what all of them are.
    """

    shapes: dict[str, torch.Size]
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, parameters: Mapping[str, Tensor]) -> "VectorLayout":
        """The layout of ``parameters``.

        Raises:
            ValueError: there are none, or they differ in dtype or device.
        """
        if not parameters:
            raise ValueError("there are no parameters to make a vector of; choose at least one")
        first_name, first = next(iter(parameters.items()))
        for name, parameter in parameters.items():
            if (parameter.dtype, parameter.device) != (first.dtype, first.device):
                raise ValueError(
                    f"{name!r} is {parameter.dtype} on {parameter.device}, {first_name!r} {first.dtype} on "
                    f"{first.device}; one vector needs one dtype and one device"
                )
        shapes = {name: parameter.shape for name, parameter in parameters.items()}
        return cls(shapes, first.device, first.dtype)

    @property
    def dimension(self) -> int:
        """Entries of all parameters together."""
        return sum(shape.numel() for shape in self.shapes.values())

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """One vector [dimension], a copy of ``tensors``, whose own order does not matter.

        Raises:
            ValueError: a name is missing, is too many, or has another shape.

        >>> layout = VectorLayout.of({"bias": torch.zeros(1), "weight": torch.zeros(1, 2)})
        >>> layout.flatten({"weight": torch.tensor([[1.0, 2.0]]), "bias": torch.tensor([3.0])})
        tensor([3., 1., 2.])
        """
        unmatched = sorted(self.shapes.keys() ^ tensors.keys())
        if unmatched:
            raise ValueError(
                f"{len(unmatched)} names are on one side only, first {unmatched[0]!r}; give all of the layout"
            )
        for name, shape in self.shapes.items():
            if tensors[name].shape != shape:
                raise ValueError(f"{name!r} has shape {[*tensors[name].shape]} instead of {[*shape]}; reshape it")
        return torch.cat([tensors[name].detach().reshape(-1) for name in self.shapes])

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """The pieces of ``vector`` [dimension] by name, each a view of it in its parameter's shape.

        Raises:
            ValueError: the vector is not of this length, dtype and device.
        """
        if vector.shape != (self.dimension,) or (vector.dtype, vector.device) != (self.dtype, self.device):
            raise ValueError(
                f"the vector is {[*vector.shape]} {vector.dtype} on {vector.device}; the parameters need "
                f"{[self.dimension]} {self.dtype} on {self.device}"
            )
        pieces = vector.split([shape.numel() for shape in self.shapes.values()])
        return {name: piece.view(shape) for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)}
