"""The report as Markdown, for a terminal or a code host; pictures are relative links to PNG files."""

import re

from diagnostics.report.document import Document
from diagnostics.report.numbers import digits_of, interval_text
from diagnostics.report.section import Section, Table
from diagnostics.report.verdict import WHAT_READY_MEANS
from training.evaluation.noise import Interval

MARKS = {"holds": "yes", "open": "open", "fails": "NO"}


def markdown(document: Document) -> str:
    """The whole report."""
    lines = [f"# {_escaped(document.title)}: {document.verdict.answer}", "", _escaped(document.verdict.deciding), ""]
    checks = tuple((check.claim, MARKS[check.outcome], check.sentence) for check in document.verdict.reasons)
    lines += _table(Table("What makes a merge safe", ("check", "holds", "measured"), checks), numbers=False)
    lines += [WHAT_READY_MEANS, ""]
    if document.triple and document.losses:
        caption = f"Loss in nats per answer token on {document.losses.items} items"
        lines += _table(_intervals(caption, document.triple, signed=False))
    lines += [_escaped(document.beside_joint), ""]
    if measured := document.gain_check or document.losses:
        caption = f"Gain of merging in nats per answer token on {measured.items} items"
        lines += _table(_intervals(caption, document.gains, signed=True))
        lines += [document.gain_sentence, ""]
    if document.missing:
        lines += [f"Not measured: {', '.join(document.missing)}.", ""]
    for section in document.sections:
        lines += _section(section)
    lines += ["## What this was measured on", "", _escaped(document.subtitle), ""]
    for table in document.measured_on:
        lines += _table(table, numbers=False)
    lines += ["## Again", "", "```", document.command, "```", ""]
    return "\n".join(lines)


def cost_text(section: Section) -> str:
    """What a diagnostic took, in words."""
    cost = section.cost
    parts = [f"{cost.seconds:,.1f} s", f"{cost.tokens:,} forward tokens"]
    if cost.products:
        parts.append(f"{cost.products:,} curvature product{'s' if cost.products > 1 else ''}")
    return ", ".join(parts)


def _section(section: Section) -> list[str]:
    lines = [f"## {_escaped(section.title)}", "", _escaped(section.meaning), ""]
    for picture in section.pictures:
        lines += [f"![{_escaped(picture.alt)}](pictures/{picture.name}.png)", ""]
    lines += [_escaped(section.uncertainty), ""]
    for table in section.tables:
        lines += _table(table)
    return [*lines, f"Cost: {cost_text(section)}.", ""]


def _intervals(caption: str, intervals: dict[str, Interval], signed: bool) -> Table:
    digits = digits_of(*intervals.values())
    rows = tuple((name, interval_text(interval, digits, signed)) for name, interval in intervals.items())
    return Table(caption, ("", "value [95 %]"), rows)


def _table(table: Table, numbers: bool = True) -> list[str]:
    rule = [":--" if column == 0 or not numbers else "--:" for column in range(len(table.head))]
    rows = [[_escaped(cell) for cell in row] for row in (table.head, *table.rows)]
    rows.insert(1, rule)
    return [f"{_escaped(table.caption)}:", "", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _escaped(text: str) -> str:
    r"""Text on one line that Markdown shows as it is; brackets stay as they are unless they would make a link.

    >>> print(_escaped("a|b <i> *x* 1.0 [0.9, 1.1]"))
    a\|b \<i> \*x\* 1.0 [0.9, 1.1]
    """
    text = re.sub(r"([\\`*|<])", r"\\\1", " ".join(text.split()))
    return text.replace("](", "]\\(").replace("![", "!\\[")
