"""All pictures and tables on one HTML page that needs no other file, each with the command that makes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from figures.catalogue import Entry, Source
from figures.table import Table

READABLE = " =:/;,.()-_!*"
"""Characters of a picture that its address holds as they are."""

HEADINGS = {
    Source.RUN: "The run",
    Source.PARTITION: "Conflicts and partitions",
    Source.REPORT: "What happened in the model",
    Source.STUDY: "Several runs",
    Source.SIMULATION: "What the theory's model predicts",
}


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A picture or a table of the gallery.

    Attributes:
        entry: of the catalogue.
        of: the run and arm it shows, where that needs saying.
        shown: the picture's SVG file, or the table.
        command: that makes it.
    """

    entry: Entry
    of: str
    shown: Path | Table
    command: str

    @property
    def anchor(self) -> str:
        """Name of its place on the page."""
        return "-".join(part for part in (self.entry.name, self.of.replace("/", "-")) if part)

    @property
    def label(self) -> str:
        """Its name in words."""
        name = self.entry.name.replace("_", " ")
        return f"{name} ({self.of})" if self.of else name

    @property
    def table(self) -> Table | None:
        """The table, if it is one."""
        return self.shown if isinstance(self.shown, Table) else None

    @property
    def picture(self) -> str:
        """The SVG file as the address of an image; percent signs compress better than base64 would."""
        assert isinstance(self.shown, Path)
        return f"data:image/svg+xml,{quote(self.shown.read_text(encoding='utf-8'), safe=READABLE)}"


def gallery(exhibits: Sequence[Exhibit]) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [(HEADINGS[source], list(own)) for source, own in groupby(exhibits, key=lambda own: own.entry.source)]
    return environment.get_template("gallery.html.jinja").render(sections=sections)
