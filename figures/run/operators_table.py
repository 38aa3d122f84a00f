"""Ways to merge the same branches (Table 12, Figure 3)."""

from collections.abc import Mapping, Sequence
from typing import Any

from figures.cells import difference_cell, interval_cell, number_cell, percent_cell
from figures.origin import origin
from figures.recorded import summary_of
from figures.table import MISSING, Block, Table
from training.errors import MissingInput
from training.run_directory import RunDirectory

COLUMNS = ["merged by", "loss [95 %]", "minus plain average [95 %]", "exact %", "unseen loss", "‖δ‖"]
NOTE = (
    "The same branches, merged in every way that the run has; nothing is trained again. Loss in nats per answer token, "
    "mean over tasks; the difference is paired over the test items of one seed, without correction for the number of "
    "operators. What is fitted has seen validation rows that the others have not. ‖δ‖: distance from the start."
)


def tabulate(run: RunDirectory) -> Table:
    """A block for each set of branches that is merged in several ways, its plain average first.

    Raises:
        MissingInput: the run has not ended, or merges no branches in several ways.
    """
    summary = summary_of(run)
    arms = {row["arm"]: row for row in summary["arms"]}
    differences = {(entry["arm"], entry["control"]): entry["loss"] for entry in summary["differences"]}
    blocks = [
        Block(f"{origin(run)}; branches of {plain}", [_row(arms[arm], plain, differences) for arm in (plain, *others)])
        for plain, others in _merged_otherwise(arms).items()
    ]
    if not blocks:
        raise MissingInput(
            f"{run.root} merges no branches in several ways; add an arm such as merit-1d+ties, and run it"
        )
    return Table("Operators on the same branches", NOTE, COLUMNS, blocks)


def _merged_otherwise(arms: Mapping[str, Mapping[str, Any]]) -> dict[str, Sequence[str]]:
    """Names of the arms that merge or scale the branches of an arm otherwise, by that arm's name."""
    found = {
        plain: [arm for arm in arms if arm.startswith((f"{plain}+", f"{plain}@", f"{plain}-uniform"))]
        for plain, row in arms.items()
        if row["branches"] > 1 and not set(plain) & set("+@") and not plain.endswith("-uniform")
    }
    return {plain: others for plain, others in found.items() if others}


def _row(arm: Mapping[str, Any], plain: str, differences: Mapping[tuple[str, str], Mapping[str, float]]) -> list[str]:
    name, results = arm["arm"], arm["results"]
    difference = differences.get((name, plain))
    return [
        "plain average" if name == plain else name.removeprefix(plain).removeprefix("+").removeprefix("-"),
        interval_cell(arm["loss"], 3),
        MISSING if difference is None else difference_cell(difference),
        percent_cell(results["exact_match"]),
        number_cell(results["unseen_loss"], 3),
        number_cell(arm["displacement"], 2),
    ]
