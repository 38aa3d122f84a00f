"""Adam's second moments of a branch, as its training left them beside its model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import InputError
from training.merge.safetensors_file import StoredTensor, open_tensors
from training.run_directory import BranchDirectory

ROWS, COLUMNS = "/rows", "/columns"
"""What the names of a matrix's row and column sums end in, where only those were kept."""


class SecondMoments:
    r"""Raw second moments $v$ of every parameter that was trained; zero for those that were not.

    A matrix may be kept as its row and column sums $r, c$: $v_{ij} \approx r_i c_j / \sum_i r_i$, the rank-one form of
    arXiv 2509.11167.
    """

    def __init__(self, tensors: dict[str, StoredTensor]) -> None:
        self._tensors = tensors
        self._sums: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        for name in tensors:
            if name.endswith(ROWS):
                owner = name.removesuffix(ROWS)
                rows, columns = (_read_all(tensors[owner + end]) for end in (ROWS, COLUMNS))
                total = rows.sum()
                self._sums[owner] = (rows / total if total > 0 else rows, columns)

    def read(self, name: str, begin: int, out: NDArray[Any]) -> None:
        """Fill ``out`` [n] with the moments of the tensor ``name`` from element ``begin`` on."""
        if name in self._sums:
            rows, columns = self._sums[name]
            places = np.arange(begin, begin + len(out))
            out[...] = rows[places // len(columns)] * columns[places % len(columns)]
        elif name in self._tensors:
            stored = np.empty(len(out), np.float32)
            self._tensors[name].read(begin, stored)
            out[...] = stored
        else:
            out[...] = 0


@contextmanager
def open_second_moments(model: Path) -> Iterator[SecondMoments]:
    """Open what training left beside the branch's folder ``model``, for the block.

    Raises:
        InputError: there is nothing.
    """
    path = BranchDirectory(model.resolve().parent).second_moments
    if not path.is_file():
        raise InputError(
            f"{path} is missing: the branch did not keep Adam's second moments; train it with an arm that asks for them"
        )
    with open_tensors(path) as tensors:
        yield SecondMoments(tensors)


def _read_all(tensor: StoredTensor) -> NDArray[np.float64]:
    stored = np.empty(tensor.count, np.float32)
    tensor.read(0, stored)
    return stored.astype(np.float64)
