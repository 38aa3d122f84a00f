"""Groups along the axes of the cosine matrix and of the raw Gram matrix (Table 20)."""

from figures.recorded import arms_of
from figures.run.grouped_scores import measured_blocks
from figures.table import Table
from training.errors import MissingInput
from training.run_directory import RunDirectory

RULES = {
    "cosine matrix": ("merit-1d", "merit-2d", "merit-3d"),
    "Gram matrix, norms included": ("raw-1d", "raw-2d", "raw-3d"),
}
NOTE = (
    "Mean over tasks of the merged model; intervals over the test items of one seed. Both arms share the items, so "
    "overlapping intervals do not show that they are alike. A dash: the run has no such arm. Where both rules find the "
    "same groups, the arms are the same model."
)


def tabulate(run: RunDirectory) -> Table:
    """A row for each matrix and a column for each number of axes.

    Raises:
        MissingInput: the run has not ended, or has no arm along the axes of the Gram matrix.
    """
    if not any(name in arms_of(run) for name in RULES["Gram matrix, norms included"]):
        raise MissingInput(f"{run.root} has no arm along raw gradients; add raw-1d to its arms, and run it")
    columns = ["principal axes of", "1D", "2D", "3D"]
    return Table("Cosine and raw Gram matrix", NOTE, columns, measured_blocks(run, RULES))
