"""Losses on the straight lines between models: their ends, lowest point and barrier (Table 6)."""

from typing import Any

from figures.cells import interval_cell, number_cell
from figures.origin import PAPER_VISION
from figures.report.report_origin import report_origin
from figures.table import MISSING, Block, Table
from training.run_directory import ReportDirectory, read_json

DIGITS = 4
PAPER_POINTS = 21
PAPER_ROW = ("every path", MISSING, MISSING, MISSING, MISSING, "0", MISSING)


def tabulate(directory: ReportDirectory) -> Table:
    """One row for each pair of branches, then one from each branch to the merged model.

    Raises:
        MissingInput: connectivity was not measured.
    """
    paths = read_json(directory.values("connectivity"))["result"]["paths"]
    points = len(paths[0]["losses"])
    note = (
        "Losses in nats per answer token on test items, at evenly spaced points from the first model (α = 0) to the "
        f"second (α = 1): {points} here, {PAPER_POINTS} in the paper. Barrier: the largest excess over the chord "
        "between the ends, zero where no point lies above it. Dip: the ends' mean loss minus the midpoint's. In "
        "brackets: 95 % intervals, paired over items; a dash where the paper gives no number."
    )
    columns = ("path", "loss at α = 0", "loss at α = 1", "lowest", "at α", "barrier", "dip")
    blocks = (Block(report_origin(directory), [_row(path) for path in paths]), Block(PAPER_VISION, [PAPER_ROW]))
    return Table("Linear interpolation between models", note, columns, blocks)


def _row(path: dict[str, Any]) -> list[str]:
    losses = path["losses"]
    lowest = min(range(len(losses)), key=losses.__getitem__)
    return [
        " → ".join(path["ends"]),
        number_cell(losses[0], DIGITS),
        number_cell(losses[-1], DIGITS),
        number_cell(losses[lowest], DIGITS),
        number_cell(lowest / (len(losses) - 1), 2),
        interval_cell(path["barrier"], DIGITS),
        interval_cell(path["dip"], DIGITS),
    ]
