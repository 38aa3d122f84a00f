"""The streaming engine: any operator over tensors on disk, in a few megabytes of memory.

A tensor is merged in chunks that are independent of one another, on a few threads: NumPy and the system calls release
the interpreter lock. The chunks never depend on the number of threads, so neither does the result.
"""

import functools
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from io import FileIO
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from training.errors import InputError
from training.merge.safetensors_file import StoredTensor, write

STACK_BYTES = 2 * 2**20  # of the widened inputs of one chunk: they stay in cache


class _Buffers(threading.local):
    """Memory of one thread, used again for every chunk: fresh pages would cost more than the arithmetic."""

    def __init__(self) -> None:
        self.stack = np.empty(STACK_BYTES, np.uint8)
        self.stored = np.empty(STACK_BYTES, np.uint8)


_buffers = _Buffers()


class Operator(Protocol):
    """What becomes of corresponding elements of the branches.

    Chunks come in the accumulator dtype and are finite; the engine rounds the result to the inputs' dtype. The memory
    of the chunks is the operator's to write over. Called from several threads at once.
    """

    needs_start: ClassVar[bool]
    """Whether chunks of the start, the model all branches began from, are wanted."""

    def __call__(self, branches: NDArray[Any], start: NDArray[Any] | None) -> NDArray[Any]:
        """Merge ``branches`` ([K, n]), given ``start`` ([n]) if it is needed, to one array ([n])."""
        ...


def merge_tensor(
    operator: Operator, inputs: Sequence[StoredTensor], target: FileIO, position: int, pool: Executor
) -> bool:
    """Merge one tensor and write it at a byte ``position`` of ``target``.

    A tensor that is the same bit for bit in all inputs is copied: it was frozen, and rounding must not move it.

    Args:
        operator: what to compute.
        inputs: the tensor in each branch, and last in the start if the operator needs it.
        target: the open file to write to.
        position: of the tensor's first byte in that file.
        pool: threads that merge chunks.

    Returns:
        Whether the tensor was copied.

    Raises:
        InputError: an input holds NaN or infinity, the result overflows, or elements that cannot be averaged differ.
    """
    first, *others = inputs
    copied = all(first.same_bits(other) for other in others)
    if copied:
        work = functools.partial(_copied_chunk, first)
    elif first.element.accumulator is not None:
        work = functools.partial(_merged_chunk, operator, inputs)
    else:
        raise InputError(
            f"tensor {first.name!r} of dtype {first.element.name} differs between {first.path.parent} and another "
            "input, and such elements have no average; merge branches that share it"
        )

    width = (first.element.accumulator or first.element.storage).itemsize
    size = max(STACK_BYTES // (len(inputs) * width), 1)

    def merge_chunk(begin: int) -> None:
        write(target, position + begin * first.element.storage.itemsize, work(begin, min(size, first.count - begin)))

    deque(pool.map(merge_chunk, range(0, first.count, size)), maxlen=0)
    return copied


def _copied_chunk(tensor: StoredTensor, begin: int, size: int) -> NDArray[Any]:
    stored = _as(_buffers.stored, tensor.element.storage, size)
    tensor.read(begin, stored)
    if tensor.element.accumulator is not None:
        values = _as(_buffers.stack, tensor.element.accumulator, size)
        values[...] = stored
        _check_finite(values, tensor)
    return stored


def _merged_chunk(operator: Operator, inputs: Sequence[StoredTensor], begin: int, size: int) -> NDArray[Any]:
    element = inputs[0].element
    assert element.accumulator is not None
    stack = _as(_buffers.stack, element.accumulator, len(inputs) * size).reshape(len(inputs), size)
    stored = _as(_buffers.stored, element.storage, size)
    for row, tensor in zip(stack, inputs, strict=True):
        if element.storage == element.accumulator:
            tensor.read(begin, row)
        else:
            tensor.read(begin, stored)
            row[...] = stored
        _check_finite(row, tensor)
    with np.errstate(over="ignore", invalid="ignore"):  # told below, with the tensor's name
        merged = operator(stack[:-1], stack[-1]) if operator.needs_start else operator(stack, None)
    assert merged.shape == (size,)
    assert merged.dtype == element.accumulator
    if not _within(merged, element.overflow):
        raise InputError(
            f"merging tensor {inputs[0].name!r} overflows {element.name}; save the branches in a wider dtype"
        )
    if element.storage == element.accumulator:
        return merged
    stored[...] = merged
    return stored


def _as(memory: NDArray[np.uint8], dtype: np.dtype[Any], size: int) -> NDArray[Any]:
    return memory[: size * dtype.itemsize].view(dtype)


def _check_finite(values: NDArray[Any], tensor: StoredTensor) -> None:
    if not _within(values, np.inf):
        raise InputError(
            f"tensor {tensor.name!r} in {tensor.path.parent} holds NaN or infinity; "
            "leave this branch out or train it again"
        )


def _within(values: NDArray[Any], bound: float) -> bool:
    # Extremes of an array with a NaN are NaN, and every comparison with NaN is false.
    return bool(values.max() < bound and values.min() > -bound)
