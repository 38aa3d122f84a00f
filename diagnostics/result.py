"""What a diagnostic found, as it lies on the disk: one JSON file of numbers, one NPZ file of what they come from."""

from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from diagnostics.cost import Cost
from training.intact import read_sealed, write_sealed
from training.keyed_file import save_keyed, stored_key
from training.run_directory import ReportDirectory

Arrays = dict[str, NDArray[np.generic]]
"""What the numbers are computed from."""


class Result(BaseModel):
    """Base of every diagnostic's result: frozen, written to JSON and read back with nothing lost.

    Attributes:
        name: of the diagnostic and of its files.
        uses: the tables of the settings that its numbers depend on.
        reads_sketches: whether it reads the gradient sketches of a run, and is left out where there are none.
        cost: what it took.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: ClassVar[str]
    uses: ClassVar[tuple[str, ...]]
    reads_sketches: ClassVar[bool] = False

    cost: Cost


Kind = TypeVar("Kind", bound=Result)


def save_result(directory: ReportDirectory, key: str, result: Result, arrays: Arrays) -> None:
    """Write both files; the JSON file, written last, says that the result is there."""
    save_keyed(directory.arrays(result.name), key, **arrays)
    write_sealed(directory.values(result.name), {"key": key, "result": result.model_dump(mode="json")})


def load_result(directory: ReportDirectory, kind: type[Kind], key: str | None = None) -> Kind | None:
    """The result that stands in ``directory``; None where there is none, it is damaged, or it has another key."""
    record = read_sealed(directory.values(kind.name))
    if record is None or stored_key(directory.arrays(kind.name)) != record["key"] or key not in (None, record["key"]):
        return None
    try:
        return kind.model_validate(record["result"])
    except ValidationError:  # written by an earlier version of the diagnostic
        return None
