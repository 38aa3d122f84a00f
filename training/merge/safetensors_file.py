"""The safetensors format: an 8-byte length, a JSON header, and the tensors' bytes one after the other.

Reading and writing go by position, chunk by chunk, so that no tensor is ever held whole. Files are read rather than
mapped: a file that shrinks under a map kills the process, one that shrinks under a read is an error that can be told.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import InputError
from training.merge.element_type import ELEMENT_TYPES, ElementType

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000  # the limit of the reference implementation
FIRST_COMPARED = 1024  # elements: tensors that differ mostly do so early
MOST_COMPARED = 262_144  # elements


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in an open safetensors file; ``offset`` is the position of its first byte in the file."""

    name: str
    element: ElementType
    shape: tuple[int, ...]
    file: FileIO
    offset: int

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size on disk in bytes."""
        return self.count * self.element.storage.itemsize

    @property
    def path(self) -> Path:
        """The file that holds the tensor."""
        return Path(os.fsdecode(self.file.name))

    def read(self, begin: int, out: NDArray[Any]) -> None:
        """Fill ``out`` ([n] of the storage dtype, contiguous) with the elements from number ``begin`` on.

        Raises:
            InputError: the file ends before the tensor does.
        """
        rest = out.view(np.uint8).data
        position = self.offset + begin * out.itemsize
        while rest:
            got = os.preadv(self.file.fileno(), [rest], position)
            if not got:
                raise InputError(f"{self.path} became shorter while it was read; merge when nothing writes to it")
            rest, position = rest[got:], position + got

    def same_bits(self, other: "StoredTensor") -> bool:
        """Whether ``other``, of the same shape, is of the same type and holds the same bytes."""
        if other.element != self.element:
            return False
        begin, size = 0, FIRST_COMPARED
        while begin < self.count:
            mine = np.empty(min(size, self.count - begin), f"u{self.element.storage.itemsize}")
            theirs = np.empty_like(mine)
            self.read(begin, mine)
            other.read(begin, theirs)
            if not np.array_equal(mine, theirs):
                return False
            begin, size = begin + mine.size, min(2 * size, MOST_COMPARED)
        return True


@contextlib.contextmanager
def open_tensors(path: Path) -> Iterator[dict[str, StoredTensor]]:
    """The tensors of a safetensors file, by name, open for reading in the block.

    Raises:
        InputError: as in :func:`read_tensors`.
    """
    with open(path, "rb", buffering=0) as file:
        yield read_tensors(file)


def read_tensors(file: FileIO) -> dict[str, StoredTensor]:
    """Read the header of an open safetensors file: its tensors by name, in the order of their bytes.

    Raises:
        InputError: the header is damaged, or the file's length is not what the header says.
    """
    path = Path(os.fsdecode(file.name))
    file_bytes = os.fstat(file.fileno()).st_size
    length = int.from_bytes(os.pread(file.fileno(), LENGTH_BYTES, 0), "little")
    start = LENGTH_BYTES + length
    if file_bytes < LENGTH_BYTES or not 0 < length <= MAX_HEADER_BYTES or start > file_bytes:
        raise InputError(f"{path} is cut off or is no safetensors file; copy or save it again")
    try:
        header = json.loads(os.pread(file.fileno(), length, LENGTH_BYTES))
        header.pop("__metadata__", None)
        tensors = [_tensor(file, start, name, entry) for name, entry in header.items()]
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path} has a damaged safetensors header; copy or save it again") from None
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.nbytes))
    end = start
    for tensor in tensors:
        if tensor.offset != end:
            raise InputError(f"{path} has a gap or an overlap before tensor {tensor.name!r}; copy or save it again")
        end += tensor.nbytes
    if end != file_bytes:
        raise InputError(f"{path} has {file_bytes} bytes but its header describes {end}; copy or save it again")
    return {tensor.name: tensor for tensor in tensors}


def _tensor(file: FileIO, start: int, name: str, entry: dict[str, Any]) -> StoredTensor:
    shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
    if not all(type(size) is int and size >= 0 for size in (*shape, begin, end)):
        raise ValueError(f"sizes and offsets of {name!r} are not natural numbers")
    if entry["dtype"] not in ELEMENT_TYPES:
        raise InputError(
            f"tensor {name!r} in {os.fsdecode(file.name)} has dtype {entry['dtype']!r}, which cannot be merged; "
            "save the model in BF16, F16 or F32"
        )
    tensor = StoredTensor(name, ELEMENT_TYPES[entry["dtype"]], shape, file, start + begin)
    if tensor.nbytes != end - begin:
        raise ValueError(f"{name!r} has {end - begin} bytes but its shape and dtype take {tensor.nbytes}")
    return tensor


def create(path: Path, tensors: Sequence[StoredTensor]) -> dict[str, int]:
    """Write the header of a new file with tensors of these names, types and shapes.

    Args:
        path: the file to create.
        tensors: what the file is to hold, in this order; widest elements first keeps every tensor aligned to its type.

    Returns:
        Where the bytes of each tensor go, as positions in the file.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begins, end = {}, 0
    for tensor in tensors:
        begins[tensor.name], end = end, end + tensor.nbytes
        header[tensor.name] = {
            "dtype": tensor.element.name,
            "shape": tensor.shape,
            "data_offsets": [begins[tensor.name], end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(LENGTH_BYTES, "little") + text)
    return {name: LENGTH_BYTES + len(text) + begin for name, begin in begins.items()}


def write(file: FileIO, position: int, elements: NDArray[Any]) -> None:
    """Write ``elements`` ([n], contiguous) at a byte ``position``; threads may write to one file at once."""
    rest = elements.view(np.uint8).data
    while rest:
        written = os.pwrite(file.fileno(), rest, position)
        rest, position = rest[written:], position + written
