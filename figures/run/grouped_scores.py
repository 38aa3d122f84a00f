"""Tables of rules that divide the tasks, with a column for each number of groups."""

from collections.abc import Mapping, Sequence

from figures.cells import interval_cell, percent_cell
from figures.origin import origin
from figures.recorded import arms_of
from figures.table import MISSING, Block
from training.run_directory import RunDirectory

Rules = Mapping[str, Sequence[str]]
"""Names of the arms for each column, by the name of the row."""


def measured_blocks(run: RunDirectory, rules: Rules) -> list[Block]:
    """Losses with intervals, and exact match where answers were generated; rows without any arm are left out.

    Raises:
        MissingInput: the run has not ended.
    """
    arms = arms_of(run)
    rows = {rule: names for rule, names in rules.items() if any(name in arms for name in names)}
    losses = [
        [rule, *(interval_cell(arms[name]["loss"], 3) if name in arms else MISSING for name in names)]
        for rule, names in rows.items()
    ]
    matches = [
        [rule, *(percent_cell(arms[name]["results"]["exact_match"]) if name in arms else MISSING for name in names)]
        for rule, names in rows.items()
    ]
    blocks = [Block(f"{origin(run)}; loss [95 %] in nats per answer token, lower is better", losses)]
    if any(cell != MISSING for row in matches for cell in row[1:]):
        blocks.append(Block(f"{origin(run)}; exact match in %, higher is better", matches))
    return blocks
