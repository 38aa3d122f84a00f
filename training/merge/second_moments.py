"""Adam's second moments of a branch, as its training left them beside its model."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import InputError
from training.merge.model_folder import open_model
from training.merge.safetensors_file import StoredTensor, open_tensors
from training.run_directory import BranchDirectory

ROWS, COLUMNS = "/rows", "/columns"
"""What the names of a matrix's row and column sums end in, where only those were kept."""


class SecondMoments:
    r"""Raw second moments $v$ of every parameter that was trained; zero for those that were not.

    A matrix may be kept as its row and column sums $r, c$: $v_{ij} \approx r_i c_j / \sum_i r_i$, the rank-one form of
    arXiv 2509.11167.
    """

    def __init__(self, path: Path, tensors: dict[str, StoredTensor]) -> None:
        self._path, self._tensors = path, tensors
        self._sums: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        for name in tensors:
            if name.endswith(ROWS):
                owner = name.removesuffix(ROWS)
                rows, columns = (self._read_all(tensors[owner + end]) for end in (ROWS, COLUMNS))
                total = rows.sum()
                self._sums[owner] = (rows / total if total > 0 else rows, columns)

    def read(self, name: str, begin: int, out: NDArray[Any]) -> None:
        """Fill ``out`` [n] with the moments of the tensor ``name`` from element ``begin`` on.

        Raises:
            InputError: one is negative or not finite.
        """
        if name in self._sums:
            rows, columns = self._sums[name]
            places = np.arange(begin, begin + len(out))
            out[...] = rows[places // len(columns)] * columns[places % len(columns)]
        elif name in self._tensors:
            stored = np.empty(len(out), np.float32)
            self._tensors[name].read(begin, stored)
            self._check(name, stored)
            out[...] = stored
        else:
            out[...] = 0

    def _read_all(self, tensor: StoredTensor) -> NDArray[np.float64]:
        stored = np.empty(tensor.count, np.float32)
        tensor.read(0, stored)
        self._check(tensor.name, stored)
        return stored.astype(np.float64)

    def _check(self, name: str, moments: NDArray[np.float32]) -> None:
        if moments.size and not (moments.min() >= 0 and moments.max() < np.inf):  # with a NaN neither is so
            raise InputError(
                f"the second moments {name!r} in {self._path} hold what is no mean of squares; train the branch again"
            )


@contextmanager
def open_second_moments(model: Path) -> Iterator[SecondMoments]:
    """Open what training left beside the branch's folder ``model``, for the block.

    Raises:
        InputError: there is nothing, it is damaged, or it is of tensors that the model has not.
    """
    path = BranchDirectory(model.resolve().parent).second_moments
    if not path.is_file():
        raise InputError(
            f"{path} is missing: the branch did not keep Adam's second moments; train it with an arm that asks for them"
        )
    with open_tensors(path) as tensors:
        _check_fit(path, tensors, model)
        yield SecondMoments(path, tensors)


def _check_fit(path: Path, tensors: Mapping[str, StoredTensor], model: Path) -> None:
    """Refuse moments of other tensors than the model's: read as zero, or as another's, nobody would notice."""
    with open_model(model) as held:
        shapes = {name: tensor.shape for name, tensor in held.items()}
    sums = {name + ROWS: shape[:1] for name, shape in shapes.items()}
    sums |= {name + COLUMNS: shape[1:] for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        other = {ROWS: COLUMNS, COLUMNS: ROWS}.get(end := "/" + name.rpartition("/")[2])
        is_alone = other is not None and name.removesuffix(end) + other not in tensors
        if (shapes | sums).get(name) != tensor.shape or tensor.element.name != "F32" or is_alone:
            raise InputError(f"{path} holds {name!r}, which is of no tensor of {model}; train the branch again")
