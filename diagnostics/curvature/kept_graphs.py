"""Graphs of a first backward pass, kept between products as far as memory allows.

A product through a kept graph costs what one gradient and a half cost anew. What does not fit is built for
each product.
"""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.nn import Parameter

T = TypeVar("T")


class KeptGraphs(Generic[T]):
    """Results that carry a graph, by number, kept until their saved tensors fill ``budget_bytes``."""

    def __init__(self, parameters: Mapping[str, Parameter], budget_bytes: int) -> None:
        """Keep graphs over ``parameters``, whose own memory does not count."""
        self._parameters = parameters
        self._versions = self._present_versions()
        self._left = budget_bytes
        self._kept: dict[int, T] = {}

    def __len__(self) -> int:
        """Graphs kept so far."""
        return len(self._kept)

    def get(self, number: int, build: Callable[[], T]) -> T:
        """What ``build`` returned for ``number``, kept or built now.

        Raises:
            ValueError: parameters were changed since the first graph; a kept one would mix old values and new.
        """
        changed = [name for name, version in self._present_versions().items() if version != self._versions[name]]
        if changed:
            raise ValueError(
                f"{len(changed)} parameters changed since the operator was made, first {changed[0]!r}; make a new one"
            )
        if number in self._kept:
            return self._kept[number]
        built, size = self._measured(build)
        if size <= self._left:
            self._kept[number] = built
            self._left -= size
        return built

    def _measured(self, build: Callable[[], T]) -> tuple[T, int]:
        parameters = {parameter.untyped_storage().data_ptr() for parameter in self._parameters.values()}
        storages: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in parameters:
                storages[storage.data_ptr()] = storage.nbytes()
            # Detached, for a node that held its own output would never be freed.
            return tensor.detach()

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            built = build()
        return built, sum(storages.values())

    def _present_versions(self) -> dict[str, int]:
        return {name: parameter._version for name, parameter in self._parameters.items()}
