"""The summary as a person reads it: Markdown beside the files, and a table on the terminal."""

from collections.abc import Callable, Mapping, Sequence

from rich import box
from rich.table import Table

from training.evaluation.noise import Interval
from training.evaluation.retention_results import RetentionDifference, RetentionResults
from training.markdown_table import markdown_table
from training.results.cost_page import cost_section
from training.results.summary import ArmRow, Difference, Summary

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


VERDICTS = {"inside the noise": "not separated from", "lower": "lower than", "higher": "higher than"}


def difference_line(difference: Difference) -> str:
    """One comparison as a sentence."""
    what = VERDICTS[difference.verdict]
    return f"{difference.arm}: loss {what} {difference.control} ({_signed(difference.loss)} nats)"


def _difference_section(differences: Sequence[Difference]) -> list[str]:
    if not differences:
        return []
    rows = [[own.arm, VERDICTS[own.verdict], own.control, _signed(own.loss)] for own in differences]
    return ["## Differences", "", *markdown_table(["loss of", "is", "that of", "by, in nats [95 %]"], rows), ""]


def _signed(interval: Interval, digits: int = 3) -> str:
    return f"{interval.value:+.{digits}f} [{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]"


def _group_section(groups: Mapping[str, Sequence[Sequence[str]]]) -> list[str]:
    """The groups of each partition, once for all arms that share them, under the first one's name."""
    arms: dict[str, list[str]] = {}
    for arm, own in groups.items():
        arms.setdefault(" · ".join(", ".join(group) for group in own), []).append(arm)
    lines = []
    for listed, (first, *others) in arms.items():
        also = f" (and {', '.join(others)})" if others else ""
        lines.append(f"- {first}{also}: {listed}")
    return ["## Groups", "", *lines, ""] if lines else []


def _fitted_section(rows: Sequence[ArmRow]) -> list[str]:
    fitted = ", ".join(row.arm for row in rows if row.fitted)
    return [f"Fitted on validation rows, which no other arm has seen: {fitted}.", ""] if fitted else []


def _retention_section(retention: RetentionResults) -> list[str]:
    head = ["arm", "loss [95 %]", "KL [95 %]", "answer length [95 %]", "cut %"]
    rows = [
        [
            arm,
            _interval(measured.loss),
            _interval(measured.divergence),
            _tokens(measured.length),
            _percent(measured.cut),
        ]
        for arm, measured in retention.arms.items()
    ]
    return [
        "## Retention",
        "",
        *markdown_table(head, rows),
        "",
        f"On {retention.prompts} general prompts, against the untouched base model's own greedy answers: their mean "
        f"length is {retention.reference_length:.1f} tokens, {_percent(retention.reference_cut)} % were cut at "
        f"{retention.limit}. Loss is that on these answers, KL the divergence from the base model at their tokens, "
        "both in nats per token; answer length is that of the arm's own answers, cut at the same limit.",
        "",
        *_retention_differences(retention.differences),
    ]


def _tokens(interval: Interval) -> str:
    return f"{interval.value:.1f} [{interval.low:.1f}, {interval.high:.1f}]"


def _retention_differences(differences: Sequence[RetentionDifference]) -> list[str]:
    if not differences:
        return []
    head = ["arm", "minus", "loss [95 %]", "answer length [95 %]"]
    rows = [[own.arm, own.control, _signed(own.loss), _signed(own.length, 1)] for own in differences]
    return [*markdown_table(head, rows), ""]


def markdown(summary: Summary, pictures: Sequence[tuple[str, str]]) -> str:
    """The summary page; ``pictures`` are (caption, path relative to the page)."""
    titles = [title for title, _ in COLUMNS]
    lines = [
        "# Summary",
        "",
        *markdown_table(titles, [[cell(row) for _, cell in COLUMNS] for row in summary.rows]),
        "",
    ]
    lines += [
        "Loss is in nats per answer token, the mean over the mixture's tasks; tokens include the primer's; branch loss "
        "is the branches' mean by their tokens (equal where all have seen all tasks), gain what the arm's model is "
        "below it; ‖δ‖ is the distance from the start.",
        "",
        *_fitted_section(summary.rows),
        f"Seed {summary.seed}. {ONE_SEED}",
        "",
    ]
    if summary.retention is not None:
        lines += _retention_section(summary.retention)
    lines += _difference_section(summary.differences)
    if summary.doubts:
        lines += ["## Doubts", "", *(f"- {doubt}" for doubt in summary.doubts), ""]
    lines += _group_section(summary.groups)
    for caption, path in pictures:
        lines += [f"![{caption}]({path})", ""]
    if summary.cost is not None:
        lines += cost_section(summary.cost)
    return "\n".join(lines)
