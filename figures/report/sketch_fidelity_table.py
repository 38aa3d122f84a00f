"""How cosines from compressed gradients agree with those of whole ones (Table 16)."""

from figures.cells import number_cell
from figures.origin import PAPER_VISION
from figures.report.report_origin import report_origin
from figures.report.sketch_fidelity import fidelity_of
from figures.table import Block, Table
from training.run_directory import ReportDirectory

DIGITS = 4
KEYS = ("pearson", "spearman", "mean_absolute", "root_mean_square")
PAPER_ROWS = (("every fifth entry", "0.9884", "0.9882", "0.0216", "0.0355"),)


def tabulate(directory: ReportDirectory) -> Table:
    """The run's sketches and the paper's compression, on the same gradients, beside the paper's numbers.

    Raises:
        MissingInput: calibration was not measured, or without whole gradients.
    """
    fidelity = fidelity_of(directory)
    names = {"sketch": f"sketch of {fidelity['sketch_size']:,} entries", "stride": "every fifth entry"}
    rows = [(name, *(number_cell(fidelity[kind][key], DIGITS) for key in KEYS)) for kind, name in names.items()]
    tasks = len(fidelity["tasks"])
    note = (
        f"Cosines between mean gradients of tasks at the start, over {tasks * (tasks - 1) // 2} pairs of {tasks} "
        "tasks, from compressed gradients and from whole ones of the same examples: their correlations, and the mean "
        "absolute and root mean square of their differences."
    )
    columns = ("compression", "Pearson", "Spearman", "MAE", "RMSE")
    blocks = (Block(report_origin(directory), rows), Block(PAPER_VISION, PAPER_ROWS))
    return Table("Cosines from compressed gradients", note, columns, blocks)
