"""The findings of a verification as a table for people and as rows for programs."""

import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from merit_theory.verify import Verification


def table(verifications: Sequence[Verification]) -> Table:
    """One row per statement: what it says, what was claimed of it, and the numbers that decide."""
    shown = Table("id", "statement", "scope", "verdict", "instances", "in numbers", "s", show_lines=True)
    for column, ratio in zip(shown.columns, (2, 5, 1, 2, 1, 5, 1), strict=True):
        column.overflow, column.ratio = "fold", ratio
    for found in verifications:
        verdict = (
            Text(found.verdict) if found.reproduced else Text(f"{found.verdict}: NOT REPRODUCED", style="bold red")
        )
        shown.add_row(
            Text(found.id),
            Text(found.statement),
            Text(found.scope),
            verdict,
            Text(f"{found.instances:,}", justify="right"),
            Text("\n".join(_numbers(found))),
            Text(f"{found.seconds:.1f}", justify="right"),
        )
    return shown


def rows(verifications: Sequence[Verification]) -> list[dict[str, Any]]:
    """The same as plain data; a slack that is not finite is none, because JSON has no infinity."""
    return [
        {
            "id": found.id,
            "statement": found.statement,
            "scope": found.scope,
            "verdict": found.verdict,
            "reproduced": found.reproduced,
            "failures": list(found.failures),
            "instances": found.instances,
            "worst_slack": found.worst_slack if _finite(found.worst_slack) else None,
            "refutations": list(found.refutations),
            "without": list(found.without),
            "demonstrations": list(found.demonstrations),
            "seconds": found.seconds,
        }
        for found in verifications
    ]


def _finite(slack: float | None) -> bool:
    return slack is not None and math.isfinite(slack)


def _numbers(found: Verification) -> list[str]:
    slack = [] if found.worst_slack is None else [f"worst slack {found.worst_slack:.2e}"]
    return [*found.failures, *slack, *found.refutations, *found.demonstrations]
