"""The scores as a person reads them: a table per metric on the terminal, one page of all beside the files."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from training.evaluation.noise import Interval
from training.harness.scores import CONTROL, Score, ScoreTable

NOTE = (
    "Intervals are 95 % paired bootstraps over the items, and say nothing about other seeds, partitions or tasks. "
    "Of the differences that are truly zero, about one in twenty is separated all the same."
)


def _value(score: Score) -> str:
    interval = score.interval
    return f"{score.value:.3f}" + ("" if interval is None else f" [{interval.low:.3f}, {interval.high:.3f}]")


def _signed(interval: Interval) -> str:
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def terminal_table(table: ScoreTable) -> Table:
    """The arms by one metric, with differences from the control, and which of those are separated from zero."""
    title = f"{table.title}, {table.items:,} items"
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="")
    shown.add_column("arm", overflow="fold")
    compared = any(score.difference for score in table.scores)
    for column in ("score [95 %]", *((f"minus {CONTROL} [95 %]", "≠ 0") if compared else ())):
        shown.add_column(column, justify="right", no_wrap=True)
    for score in table.scores:
        difference = score.difference
        cells = (
            ("", "") if difference is None else (_signed(difference), "yes" if difference.separates_from_zero else "no")
        )
        shown.add_row(score.arm, _value(score), *(cells if compared else ()))
    return shown


def difference_line(table: ScoreTable, score: Score) -> str:
    """One comparison as a sentence."""
    assert score.difference is not None, "the control is not compared with itself"
    return f"{score.arm}: {table.benchmark} {table.metric} {score.verdict} {CONTROL} ({_signed(score.difference)})"


def markdown(tables: Sequence[ScoreTable], settings: str) -> str:
    """The page: arms by benchmarks, then every difference from the control; ``settings`` say how it was measured."""
    arms = [score.arm for score in tables[0].scores]
    head = ["arm", *(f"{table.title} [95 %]" for table in tables)]
    rule = [":--", *("--:" for _ in tables)]
    rows = [[arm, *(_value(table.scores[number]) for table in tables)] for number, arm in enumerate(arms)]
    lines = ["# Benchmarks of lm-evaluation-harness", ""]
    lines += ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)]
    items = ", ".join(f"{table.benchmark} {table.items:,}" for table in {t.benchmark: t for t in tables}.values())
    lines += ["", f"Items: {items}. {settings}", "", NOTE, ""]
    differences = [difference_line(table, score) for table in tables for score in table.scores if score.difference]
    if differences:
        lines += ["## Differences", "", *(f"- {line}" for line in differences), ""]
    return "\n".join(lines)
