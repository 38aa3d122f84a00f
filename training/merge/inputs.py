"""What a merge reads: the same tensors of several models, chunk by chunk or one tensor at a time.

Chunks are read on a few threads: NumPy and the system calls release the interpreter lock. They never depend on the
number of threads, so neither does any result.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from training.errors import InputError
from training.merge.safetensors_file import StoredTensor
from training.merge.second_moments import SecondMoments

STACK_BYTES = 2 * 2**20  # of the widened inputs of one chunk: they stay in cache

Found = TypeVar("Found")


class _Buffers(threading.local):
    """Memory of one thread, used again for every chunk: fresh pages would cost more than the arithmetic."""

    def __init__(self) -> None:
        self.stack = np.empty(STACK_BYTES, np.uint8)
        self.stored = np.empty(STACK_BYTES, np.uint8)


_buffers = _Buffers()


@dataclass(frozen=True, slots=True)
class Elements:
    """Corresponding elements of all inputs, finite and in the accumulator dtype.

    The memory is the operator's to write over, and the engine's again once the operator has returned.

    Attributes:
        tensor: name of the tensor.
        begin: number of the first element within the flattened tensor.
        branches: [K, n], or [K, *shape] where the tensor is wanted as a whole.
        start: [n] or [*shape]; None for operators that do not need it.
        second_moments: like ``branches``, Adam's raw second moments of each branch; None likewise.
    """

    tensor: str
    begin: int
    branches: NDArray[Any]
    start: NDArray[Any] | None = None
    second_moments: NDArray[Any] | None = None

    def displacements(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The start and every branch's displacement from it, in the branches' own memory."""
        assert self.start is not None, "the operator says that it needs no start"
        self.branches[...] -= self.start
        return self.start, self.branches


@dataclass(frozen=True, slots=True)
class MergeInputs:
    """The models that are merged, open for reading; all hold the same tensors.

    Attributes:
        weights: one per branch.
        branches: tensors by name.
        start: tensors by name; None for operators that do not need it.
        second_moments: per branch; None likewise.
        pool: threads that work on chunks and whole tensors; a rule runs on one of them and must not wait for others.
        opened: what is closed when the merge ends; for files that an operator reads besides.
    """

    weights: tuple[float, ...]
    branches: tuple[Mapping[str, StoredTensor], ...]
    start: Mapping[str, StoredTensor] | None
    second_moments: tuple[SecondMoments, ...] | None
    pool: Executor
    opened: ExitStack

    def models(self, name: str) -> list[StoredTensor]:
        """The tensor ``name`` in every branch, and last in the start if that is read."""
        models = self.branches if self.start is None else (*self.branches, self.start)
        return [model[name] for model in models]

    def chunks(self, name: str) -> Iterator[tuple[int, int]]:
        """First element and length of each chunk of the tensor ``name``."""
        tensor = self.branches[0][name]
        size = max(STACK_BYTES // (self._rows * tensor.element.width), 1)
        return ((begin, min(size, tensor.count - begin)) for begin in range(0, tensor.count, size))

    def elements(self, name: str, begin: int, size: int) -> Elements:
        """A chunk of a tensor of floating-point numbers, in memory that the thread uses again for its next chunk.

        Raises:
            InputError: an input holds NaN or infinity, or a file became shorter.
        """
        element = self.branches[0][name].element
        assert element.accumulator is not None
        stack = as_array(_buffers.stack, element.accumulator, self._rows * size).reshape(self._rows, size)
        self._fill(name, begin, stack)
        return self._split(name, begin, stack, (size,))

    def whole(self, name: str) -> Elements:
        """A tensor of floating-point numbers as a whole, in memory of its own.

        Raises:
            InputError: as in :meth:`elements`.
        """
        tensor = self.branches[0][name]
        assert tensor.element.accumulator is not None
        stack = np.empty((self._rows, tensor.count), tensor.element.accumulator)
        size = max(STACK_BYTES // tensor.element.storage.itemsize, 1)
        for begin in range(0, tensor.count, size):
            self._fill(name, begin, stack[:, begin : begin + size])
        return self._split(name, 0, stack, tensor.shape)

    def whole_bytes(self, name: str) -> int:
        """Memory that :meth:`whole` takes for a tensor, in bytes."""
        tensor = self.branches[0][name]
        return self._rows * tensor.count * tensor.element.width

    def over_chunks(self, function: Callable[[Elements], Found]) -> Iterator[Found]:
        """``function`` of every chunk of every tensor of floating-point numbers, in the order of tensors and chunks.

        What the function returns must not hold the memory of its elements.
        """
        work = [
            (name, *chunk)
            for name, tensor in self.branches[0].items()
            if tensor.element.accumulator is not None
            for chunk in self.chunks(name)
        ]
        return self.pool.map(lambda chunk: function(self.elements(*chunk)), work)

    def only(self, name: str) -> "MergeInputs":
        """The same models with no other tensor than ``name``."""
        branches = tuple({name: branch[name]} for branch in self.branches)
        return replace(self, branches=branches, start=None if self.start is None else {name: self.start[name]})

    @property
    def _rows(self) -> int:
        moments = 0 if self.second_moments is None else len(self.branches)
        return len(self.branches) + (self.start is not None) + moments

    def _fill(self, name: str, begin: int, stack: NDArray[Any]) -> None:
        models = self.models(name)
        for row, tensor in zip(stack, models, strict=False):
            _read(tensor, begin, row)
        for row, moments in zip(stack[len(models) :], self.second_moments or (), strict=True):
            moments.read(name, begin, row)

    def _split(self, name: str, begin: int, stack: NDArray[Any], shape: tuple[int, ...]) -> Elements:
        count = len(self.branches)
        models = count + (self.start is not None)
        return Elements(
            tensor=name,
            begin=begin,
            branches=stack[:count].reshape(count, *shape),
            start=None if self.start is None else stack[count].reshape(shape),
            second_moments=None if self.second_moments is None else stack[models:].reshape(count, *shape),
        )


def as_array(memory: NDArray[np.uint8], dtype: np.dtype[Any], size: int) -> NDArray[Any]:
    """The first ``size`` entries of ``dtype`` in ``memory``."""
    return memory[: size * dtype.itemsize].view(dtype)


def within(values: NDArray[Any], bound: float) -> bool:
    """Whether all values are numbers of a magnitude below ``bound``."""
    # Extremes of an array with a NaN are NaN, and every comparison with NaN is false.
    return not values.size or bool(values.max() < bound and values.min() > -bound)


def check_finite(values: NDArray[Any], tensor: StoredTensor) -> None:
    """Refuse NaN and infinity.

    Raises:
        InputError: there is one.
    """
    if not within(values, np.inf):
        raise InputError(
            f"tensor {tensor.name!r} in {tensor.path.parent} holds NaN or infinity; "
            "leave this branch out or train it again"
        )


def storage_buffer(dtype: np.dtype[Any], size: int) -> NDArray[Any]:
    """Memory of this thread for ``size`` stored elements."""
    return as_array(_buffers.stored, dtype, size)


def _read(tensor: StoredTensor, begin: int, row: NDArray[Any]) -> None:
    if tensor.element.storage == row.dtype:
        tensor.read(begin, row)
    else:
        stored = storage_buffer(tensor.element.storage, len(row))
        tensor.read(begin, stored)
        row[...] = stored
    check_finite(row, tensor)
