"""The streaming engine: any operator over tensors on disk; element by element it takes a few megabytes of memory."""

import functools
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from io import FileIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import InputError
from training.merge.inputs import Elements, MergeInputs, check_finite, storage_buffer, within
from training.merge.operator import Plan, Rule
from training.merge.safetensors_file import StoredTensor, write

WHOLE_BYTES = 2**30
"""Of the inputs of tensors that are merged as wholes at a time; a larger one is merged alone."""


class Waiting:
    """Work on tensors that are merged as wholes, beside one another as far as memory goes."""

    def __init__(self) -> None:
        self._works: deque[tuple[Future[None], int]] = deque()

    def submit(self, pool: Executor, nbytes: int, work: Callable[[], None]) -> None:
        """Have ``work``, whose inputs take ``nbytes``, done once there is room for them."""
        while self._works and sum(taken for _, taken in self._works) + nbytes > WHOLE_BYTES:
            self._works.popleft()[0].result()
        self._works.append((pool.submit(work), nbytes))

    def finish(self) -> None:
        """Wait for all of it; the first error is raised."""
        while self._works:
            self._works.popleft()[0].result()


def merge_tensor(plan: Plan, inputs: MergeInputs, name: str, target: FileIO, position: int, waiting: Waiting) -> bool:
    """Merge one tensor and write it at a byte ``position`` of ``target``.

    A tensor that is the same bit for bit in all inputs, the start among them, is copied: it was frozen, and rounding
    must not move it.

    Args:
        plan: how each tensor is merged.
        inputs: the models.
        name: the tensor.
        target: the open file to write to.
        position: of the tensor's first byte in that file.
        waiting: takes the work on a tensor that is merged as a whole, which goes on beside that on later ones.

    Returns:
        Whether the tensor was copied.

    Raises:
        InputError: an input holds NaN or infinity, the result overflows, or elements that cannot be averaged differ.
    """
    first, *others = inputs.models(name)
    copied = all(first.same_bits(other) for other in others)
    if not copied and first.element.accumulator is None:
        raise InputError(
            f"tensor {name!r} of dtype {first.element.name} differs between {first.path.parent} and another "
            "input, and such elements have no average; merge branches that share it"
        )
    rule = None if copied else plan(first)
    if rule is not None and rule.whole:
        merge_whole = functools.partial(_merge_whole, rule, inputs, first, target, position)
        waiting.submit(inputs.pool, inputs.whole_bytes(name), merge_whole)
        return False

    work = _copied_chunk if rule is None else functools.partial(_merged_chunk, rule, inputs)

    def merge_chunk(chunk: tuple[int, int]) -> None:
        begin, size = chunk
        write(target, position + begin * first.element.storage.itemsize, work(first, begin, size))

    deque(inputs.pool.map(merge_chunk, inputs.chunks(name)), maxlen=0)
    return copied


def _merge_whole(rule: Rule, inputs: MergeInputs, tensor: StoredTensor, target: FileIO, position: int) -> None:
    merged = _merged(rule, inputs.whole(tensor.name), tensor).reshape(-1)
    write(target, position, merged.astype(tensor.element.storage, copy=False))


def _copied_chunk(tensor: StoredTensor, begin: int, size: int) -> NDArray[Any]:
    stored = storage_buffer(tensor.element.storage, size)
    tensor.read(begin, stored)
    if tensor.element.accumulator is not None:
        check_finite(stored.astype(tensor.element.accumulator, copy=False), tensor)
    return stored


def _merged_chunk(rule: Rule, inputs: MergeInputs, tensor: StoredTensor, begin: int, size: int) -> NDArray[Any]:
    merged = _merged(rule, inputs.elements(tensor.name, begin, size), tensor)
    if tensor.element.storage == merged.dtype:
        return merged
    stored = storage_buffer(tensor.element.storage, size)
    stored[...] = merged
    return stored


def _merged(rule: Rule, elements: Elements, tensor: StoredTensor) -> NDArray[Any]:
    shape, dtype = elements.branches.shape[1:], elements.branches.dtype
    with np.errstate(over="ignore", invalid="ignore"):  # told below, with the tensor's name
        merged = rule.merge(elements)
    assert merged.shape == shape
    assert merged.dtype == dtype
    if not within(merged, tensor.element.overflow):
        raise InputError(
            f"merging tensor {tensor.name!r} overflows {tensor.element.name}; save the branches in a wider dtype"
        )
    return merged
