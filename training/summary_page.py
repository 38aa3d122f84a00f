"""The summary as a person reads it: Markdown beside the files, and a table on the terminal."""

from collections.abc import Callable, Sequence

from rich import box
from rich.table import Table

from training.noise import Interval
from training.summary import ArmRow, Difference, Summary

ONE_SEED = (
    "One seed, one mixture: intervals are 95 % paired bootstraps over test items, and say nothing about other seeds, "
    "partitions or tasks. No arm is called better on this evidence."
)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _interval(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


COLUMNS: tuple[tuple[str, Callable[[ArmRow], str]], ...] = (
    ("arm", lambda row: row.arm),
    ("branches", lambda row: str(row.branches)),
    ("tokens", lambda row: f"{row.tokens:,}"),
    ("steps", lambda row: str(row.steps)),
    ("train s", lambda row: f"{row.seconds:.0f}"),
    ("‖δ‖", lambda row: _number(row.displacement, 2)),
    ("loss [95 %]", lambda row: _interval(row.loss)),
    ("branch loss", lambda row: _number(row.branch_loss)),
    ("gain", lambda row: _number(row.gain)),
    ("token acc. %", lambda row: _percent(row.results.accuracy)),
    ("exact %", lambda row: _percent(row.results.exact_match)),
    ("unseen loss", lambda row: _number(row.results.unseen_loss)),
    ("unseen exact %", lambda row: _percent(row.results.unseen_exact_match)),
)


ON_TERMINAL = ("arm", "tokens", "loss [95 %]", "exact %", "unseen loss")
"""Columns that fit in 80 characters; the page has them all."""


def terminal_table(summary: Summary) -> Table:
    """The arms as a table for the terminal."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown = [(title, cell) for title, cell in COLUMNS if title in ON_TERMINAL]
    for title, _ in shown:
        table.add_column(title, justify="left" if title == "arm" else "right", no_wrap=True)
    for row in summary.rows:
        table.add_row(*(cell(row) for _, cell in shown))
    return table


def difference_line(difference: Difference) -> str:
    """One comparison as a sentence."""
    what = {"inside the noise": "not separated from", "lower": "lower than", "higher": "higher than"}[
        difference.verdict
    ]
    interval = difference.loss
    signed = f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
    return f"{difference.arm}: loss {what} {difference.control} ({signed} nats)"


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = [":--" if column == 0 else "--:" for column in range(len(head))]
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)]


def markdown(summary: Summary, pictures: Sequence[tuple[str, str]]) -> str:
    """The summary page; ``pictures`` are (caption, path relative to the page)."""
    titles = [title for title, _ in COLUMNS]
    lines = [
        "# Summary",
        "",
        *_markdown_table(titles, [[cell(row) for _, cell in COLUMNS] for row in summary.rows]),
        "",
    ]
    lines += [
        "Loss is in nats per answer token, the mean over the mixture's tasks; tokens include the primer's; branch loss "
        "is the branches' mean with the merge's weights, gain what merging took off it; ‖δ‖ is the distance from the "
        "start.",
        "",
        f"Seed {summary.seed}. {ONE_SEED}",
        "",
    ]
    if summary.differences:
        lines += ["## Differences", "", *(f"- {difference_line(entry)}" for entry in summary.differences), ""]
    if summary.doubts:
        lines += ["## Doubts", "", *(f"- {doubt}" for doubt in summary.doubts), ""]
    if summary.groups:
        lines += ["## Groups", ""]
        for arm, groups in summary.groups.items():
            lines.append(f"- {arm}: " + " · ".join(", ".join(group) for group in groups))
        lines.append("")
    for caption, path in pictures:
        lines += [f"![{caption}]({path})", ""]
    lines += ["## Time", ""]
    stages = [[stage, f"{seconds:.1f}"] for stage, seconds in summary.stage_seconds.items()]
    lines += [*_markdown_table(["stage", "seconds"], stages), ""]
    return "\n".join(lines)
