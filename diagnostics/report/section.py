"""One part of a report: what a diagnostic found, in words, tables and pictures; the page decides how it looks."""

from dataclasses import dataclass

from diagnostics.cost import Cost


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the report's folder: ``pictures/NAME.svg`` and ``.png``, and what it shows for who cannot see it."""

    name: str
    alt: str


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text; the first column is left-aligned, the others are numbers."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """What a diagnostic found.

    Attributes:
        name: of the diagnostic.
        title: as a heading.
        meaning: one sentence that says what these numbers mean for this merge.
        uncertainty: one or two sentences: what the intervals cover, and what is not known.
        pictures: in the order in which they are shown.
        tables: below the pictures.
        cost: what it took.
    """

    name: str
    title: str
    meaning: str
    uncertainty: str
    pictures: tuple[Picture, ...]
    tables: tuple[Table, ...]
    cost: Cost
