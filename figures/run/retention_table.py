"""What each arm kept of the base model's behaviour on general prompts."""

from collections.abc import Mapping
from typing import Any

from figures.cells import difference_cell, interval_cell, percent_cell
from figures.origin import origin
from figures.recorded import summary_of
from figures.table import MISSING, Block, Table
from training.errors import MissingInput
from training.run_directory import RunDirectory

COLUMNS = ["arm", "loss [95 %]", "minus joint [95 %]", "KL [95 %]", "answer length [95 %]", "cut %"]


def tabulate(run: RunDirectory) -> Table:
    """Loss on the base model's own answers, divergence from it, and length of the arm's own answers.

    Raises:
        MissingInput: the run has not ended, or did not measure retention.
    """
    retention = summary_of(run).get("retention")
    if retention is None:
        raise MissingInput(f"{run.root} did not measure retention; run it with --set evaluation.retention=12")
    against_joint = {entry["arm"]: entry["loss"] for entry in retention["differences"] if entry["control"] == "joint"}
    rows = [_row(arm, own, against_joint) for arm, own in retention["arms"].items()]
    note = (
        f"On {retention['prompts']} general prompts, against the untouched base model's own greedy answers, which are "
        f"{retention['reference_length']:.1f} tokens long on average ({percent_cell(retention['reference_cut'])} % cut "
        f"at {retention['limit']}). Loss and KL, the divergence from the base model, in nats per token of these "
        "answers; intervals over prompts; answer length in tokens of the arm's own answers, and how many were cut."
    )
    return Table("Retention on general prompts", note, COLUMNS, [Block(origin(run), rows)])


def _row(arm: str, own: Mapping[str, Any], against_joint: Mapping[str, Mapping[str, float]]) -> list[str]:
    return [
        arm,
        interval_cell(own["loss"], 3),
        difference_cell(against_joint[arm]) if arm in against_joint else MISSING,
        interval_cell(own["divergence"], 3),
        interval_cell(own["length"], 1),
        percent_cell(own["cut"]),
    ]
