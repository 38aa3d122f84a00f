"""Element types of safetensors files: how they lie on disk and what they are accumulated in."""

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np


@dataclass(frozen=True, slots=True)
class ElementType:
    """One safetensors dtype.

    Attributes:
        name: the dtype's name in a safetensors header.
        storage: NumPy dtype with the same bytes, whose casts to and from ``accumulator`` widen exactly and round to
            the nearest, ties to even; for the 8-bit floats, their bit patterns.
        accumulator: NumPy dtype that arithmetic happens in, or None where an average has no meaning or no support.
        overflow: the smallest magnitude that rounds to infinity.
    """

    name: str
    storage: np.dtype[Any]
    accumulator: np.dtype[Any] | None = None
    overflow: float = np.inf

    @property
    def width(self) -> int:
        """Bytes that an element takes while it is worked on."""
        return (self.accumulator or self.storage).itemsize


_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)

ELEMENT_TYPES = {
    element.name: element
    for element in (
        ElementType("F64", np.dtype(np.float64), _DOUBLE),
        ElementType("F32", np.dtype(np.float32), _SINGLE),
        ElementType("F16", np.dtype(np.float16), _SINGLE, overflow=65520.0),
        ElementType("BF16", np.dtype(ml_dtypes.bfloat16), _SINGLE, overflow=float.fromhex("0x1.ffp127")),
        ElementType("F8_E4M3", np.dtype(np.uint8)),
        ElementType("F8_E5M2", np.dtype(np.uint8)),
        ElementType("I64", np.dtype(np.int64)),
        ElementType("U64", np.dtype(np.uint64)),
        ElementType("I32", np.dtype(np.int32)),
        ElementType("U32", np.dtype(np.uint32)),
        ElementType("I16", np.dtype(np.int16)),
        ElementType("U16", np.dtype(np.uint16)),
        ElementType("I8", np.dtype(np.int8)),
        ElementType("U8", np.dtype(np.uint8)),
        ElementType("BOOL", np.dtype(np.uint8)),
    )
}
