"""Tables as values, and how they become Markdown and LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.markdown_table import markdown_table
from training.run_directory import write_text

MISSING = "–"
"""In a cell without a number."""

_ESCAPES = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": r"$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "‖": r"$\|$",
    "→": r"$\to$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "–": "--",
    "…": r"\ldots{}",
    "α": r"$\alpha$",
    "σ": r"$\sigma$",
    "δ": r"$\delta$",
    "η": r"$\eta$",
    "λ": r"$\lambda$",
    "θ": r"$\theta$",
    "τ": r"$\tau$",
    "⁰": r"$^0$",
    "²": r"$^2$",
}


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that come from one place.

    Attributes:
        origin: the model and scale the numbers are of, so that nobody takes the paper's for ours.
        rows: cells as they are read, the row's name first.
    """

    origin: str
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of one or more blocks under common columns.

    Attributes:
        title: what the table shows.
        note: how to read it: units, intervals, what a dash means.
        columns: heads, the first that of the rows' names.
        blocks: from the top.
    """

    title: str
    note: str
    columns: Sequence[str]
    blocks: Sequence[Block]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for block in self.blocks for row in block.rows):
            raise ValueError(f"a row of {self.title!r} has not the {len(self.columns)} cells of its head")


def markdown(table: Table) -> str:
    """The table in Markdown: one table for each block, under the block's origin."""
    lines = [f"## {table.title}", "", table.note]
    for block in table.blocks:
        lines += ["", f"**{_cell(block.origin)}**", ""]
        lines += markdown_table([_cell(head) for head in table.columns], [[*map(_cell, row)] for row in block.rows])
    return "\n".join(lines) + "\n"


def latex(table: Table) -> str:
    """The table as a LaTeX float for the package booktabs; each block opens with its origin across all columns."""
    width = len(table.columns)
    lines = [
        r"\begin{table}",
        rf"\caption{{{_escaped(table.title)}. {_escaped(table.note)}}}",
        rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        r"\toprule",
        _latex_row(table.columns),
    ]
    for block in table.blocks:
        lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\emph{{{_escaped(block.origin)}}}}} \\"]
        lines += [_latex_row(row) for row in block.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def save(table: Table, folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``NAME.md`` and ``NAME.tex`` into ``folder``, each atomically, and return both."""
    pages = folder / f"{name}.md", folder / f"{name}.tex"
    for page, text in zip(pages, (markdown(table), latex(table)), strict=True):
        write_text(page, text)
    return pages


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_escaped, cells)) + r" \\"


def _escaped(text: str) -> str:
    r"""``text`` as LaTeX shows it.

    >>> print(_escaped("50 % of task_1 − ok"))
    50 \% of task\_1 $-$ ok
    """
    return "".join(_ESCAPES.get(character, character) for character in text)
