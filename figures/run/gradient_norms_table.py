"""How much the norms of the tasks' gradients differ (Table 19)."""

import numpy as np
from numpy.typing import NDArray

from figures.cells import number_cell
from figures.origin import PAPER_VISION, origin
from figures.table import MISSING, Block, Table
from training.errors import InputError, MissingInput
from training.run_directory import RunDirectory, read_json

TRIMMED = {"raw": 0.0, "5 % trimmed": 0.05, "10 % trimmed": 0.1}
PAPERS_VARIATION = {"raw": "0.39", "5 % trimmed": "0.23", "10 % trimmed": "0.17"}
NOTE = (
    "Norms of the tasks' mean gradients at the start. Trimmed: without that share of the tasks at either end, rounded "
    "down to whole tasks, so that few tasks stay as they are. CV: standard deviation (n − 1) over mean. The larger it "
    "is, the more the axes of the Gram matrix can differ from those of the cosine matrix."
)


def tabulate(run: RunDirectory) -> Table:
    """Mean, standard deviation, their ratio, and the largest over the smallest norm, of all tasks and trimmed.

    Raises:
        MissingInput: conflicts were not measured.
        InputError: their file is damaged.
    """
    if not run.conflicts.is_file():
        raise MissingInput(f"{run.conflicts} is missing; run an arm that measures conflicts, such as merit-1d")
    norms = read_json(run.conflicts).get("norms")
    if not norms:
        raise InputError(f"{run.conflicts} holds no norms; remove it and run the recipe again")
    ordered = np.sort(np.array(norms, dtype=np.float64))
    rows = [[name, *_cells(_trimmed(ordered, share))] for name, share in TRIMMED.items()]
    paper = [[name, MISSING, MISSING, MISSING, value, MISSING] for name, value in PAPERS_VARIATION.items()]
    columns = ["norms", "tasks", "mean", "std", "CV", "max / min"]
    return Table("Spread of gradient norms", NOTE, columns, [Block(origin(run), rows), Block(PAPER_VISION, paper)])


def _trimmed(ordered: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    dropped = int(share * len(ordered))
    return ordered[dropped : len(ordered) - dropped]


def _cells(norms: NDArray[np.float64]) -> list[str]:
    mean, deviation = norms.mean(), norms.std(ddof=1) if len(norms) > 1 else None
    return [
        str(len(norms)),
        number_cell(mean, 3),
        number_cell(deviation, 3),
        MISSING if deviation is None or not mean else number_cell(deviation / mean, 2),
        number_cell(norms[-1] / norms[0], 2) if norms[0] else MISSING,
    ]
