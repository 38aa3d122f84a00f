"""Element types of safetensors files: how they lie on disk, what they are accumulated in, how results are rounded."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.merge import bfloat16


@dataclass(frozen=True, slots=True)
class ElementType:
    """One safetensors dtype.

    Attributes:
        name: the dtype's name in a safetensors header.
        storage: NumPy dtype with the same bytes; for BF16 and the 8-bit floats, their bit patterns.
        accumulator: NumPy dtype that arithmetic happens in, or None where an average has no meaning or no support.
        overflow: the smallest magnitude that rounds to infinity.
    """

    name: str
    storage: np.dtype[Any]
    accumulator: np.dtype[Any] | None = None
    overflow: float = np.inf

    def widen(self, stored: NDArray[Any], out: NDArray[Any]) -> None:
        """Write ``stored`` ([n] of ``storage``) to ``out`` ([n] of ``accumulator``), exactly."""
        if self.name == "BF16":
            bfloat16.widen(stored, out)
        else:
            out[...] = stored

    def narrow(self, values: NDArray[Any]) -> NDArray[Any]:
        """Round ``values`` ([n] of ``accumulator``) to the nearest elements ([n] of ``storage``), ties to even."""
        return bfloat16.narrow(values) if self.name == "BF16" else values.astype(self.storage, copy=False)


_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)

ELEMENT_TYPES = {
    element.name: element
    for element in (
        ElementType("F64", np.dtype(np.float64), _DOUBLE),
        ElementType("F32", np.dtype(np.float32), _SINGLE),
        ElementType("F16", np.dtype(np.float16), _SINGLE, overflow=65520.0),
        ElementType("BF16", np.dtype(np.uint16), _SINGLE, overflow=float.fromhex("0x1.ffp127")),
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
