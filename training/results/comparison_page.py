"""A comparison as a person reads it: a table that fits a terminal, and a sentence for each result."""

from collections.abc import Callable

from rich import box
from rich.table import Table

from training.results.comparison import ComparedArms, Comparison


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def _difference(row: ComparedArms) -> str:
    interval = row.difference.interval
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


Column = tuple[str, Callable[[ComparedArms], str]]


def _columns(arm: str, unit: str) -> tuple[Column, ...]:
    return (
        (f"{arm} against", lambda row: row.against),
        (f"{unit} [95 %]", _difference),
        ("covers", lambda row: " ".join(row.difference.counts.covered) or "nothing"),
        ("p", lambda row: _p(row.holm)),
        ("runs p", lambda row: _p(row.signed_rank_holm)),
        ("rank p", lambda row: _p(None if row.rank is None else row.rank.p_value)),
        ("sees", lambda row: "–" if row.visible is None else f"{row.visible.value:.3f}"),
    )


def comparison_table(comparison: Comparison) -> Table:
    """A row for each control; a column that no row fills is left out."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=0)
    columns = [
        (title, [cell(row) for row in comparison.rows])
        for title, cell in _columns(comparison.rows[0].arm, comparison.unit)
    ]
    filled = [(title, cells) for title, cells in columns if set(cells) != {"–"}]
    for title, _ in filled:
        words = title == "covers" or title.endswith(" against")
        # Levels stand below one another, so that the longest usual name of an arm fits into 80 characters.
        width = len("partition") if title == "covers" else None
        table.add_column(
            title, justify="left" if words else "right", max_width=width, no_wrap=not words, overflow="fold"
        )
    for row in zip(*(cells for _, cells in filled), strict=True):
        table.add_row(*row)
    return table


def sentences(comparison: Comparison) -> list[str]:
    """What each result allows to say, and the doubts, each once."""
    direction = "lower" if comparison.lower_is_better else "higher"
    lines = [
        f"Differences are arm minus control, means over tasks; {direction} is better. p is two-sided, runs p that "
        "of Wilcoxon's one-sided test over runs, both adjusted by Holm for the number of controls; rank p is that of "
        "the rank among random partitions; sees is the true difference that so many samples find four times in five."
    ]
    for row in comparison.rows:
        lines += ["", f"{row.arm} against {row.against}:", *(f"- {verdict}" for verdict in row.verdicts)]
    doubts = dict.fromkeys(doubt for row in comparison.rows for doubt in row.doubts)
    return [*lines, *(["", "Doubts:"] if doubts else []), *(f"- {doubt}" for doubt in doubts)]
