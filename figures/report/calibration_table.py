"""Direction of the mean gradient by number of calibration examples (Table 11)."""

from figures.cells import interval_cell
from figures.origin import PAPER_VISION
from figures.report.report_origin import report_origin
from figures.table import MISSING, Block, Table
from training.run_directory import ReportDirectory, read_json

DIGITS = 3
PAPER_ROWS = (("50", "0.683", MISSING), ("200", "0.847", MISSING))
NOTE = (
    "Cosine of the mean gradient of n calibration examples, mean over tasks, with 95 % intervals over tasks. Here the "
    "reference shares no example with them: the others' gradient, and the gradient of infinitely many, which is the "
    "former with its noise taken out. The paper's reference is the gradient of 1,000 examples. Extrapolated: from each "
    "task's reliability."
)


def tabulate(directory: ReportDirectory) -> Table:
    """A row for each number of examples that was measured, then those that are extrapolated, then the paper's.

    Raises:
        MissingInput: calibration was not measured.
    """
    result = read_json(directory.values("calibration"))["result"]
    rows = [
        (
            f"{point['examples']:,.0f}",
            interval_cell(point["with_rest"], DIGITS),
            interval_cell(point["with_signal"], DIGITS),
        )
        for point in result["curve"]
    ]
    rows += [
        (f"{point['examples']:,.0f}, extrapolated", MISSING, interval_cell(point["with_signal"], DIGITS))
        for point in result["expected"]
    ]
    columns = ("examples", "cosine with the reference", "cosine with infinitely many")
    blocks = (Block(report_origin(directory), rows), Block(PAPER_VISION, PAPER_ROWS))
    return Table("Calibration size and the gradient's direction", NOTE, columns, blocks)
