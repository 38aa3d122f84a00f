"""What there is to draw, in the order of the gallery: where its numbers come from, and what of the paper it redraws."""

from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from types import ModuleType


class Source(StrEnum):
    """Whose files an entry reads; its module lies in the package of this name, and takes this as its argument."""

    RUN = "run"
    PARTITION = "partition"
    REPORT = "report"
    STUDY = "study"
    SIMULATION = "simulation"


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture or table.

    Attributes:
        source: whose files it reads.
        name: of its module, of its files, and on the command line.
        paper: the item of the paper (arXiv 2606.01717) that it redraws; empty where the paper has none.
    """

    source: Source
    name: str
    paper: str = ""

    def module(self) -> ModuleType:
        """Module with ``draw``, which gives a picture, or ``tabulate``, which gives a table."""
        return import_module(f"figures.{self.source}.{self.name}")


CATALOGUE: tuple[Entry, ...] = (
    Entry(Source.PARTITION, "pipeline", "Figure 1"),
    Entry(Source.PARTITION, "conflict_heat_map"),
    Entry(Source.PARTITION, "task_map"),
    Entry(Source.REPORT, "losses"),
    Entry(Source.REPORT, "task_losses"),
    Entry(Source.REPORT, "gain_check"),
    Entry(Source.REPORT, "connectivity", "Table 6"),
    Entry(Source.REPORT, "interpolation_table", "Table 6"),
    Entry(Source.REPORT, "flatness", "Figure 4"),
    Entry(Source.REPORT, "landscape", "Figure 2"),
    Entry(Source.REPORT, "landscape_3d", "Figure 2"),
    Entry(Source.REPORT, "displacement_over_training"),
    Entry(Source.REPORT, "displacement_by_layer"),
    Entry(Source.REPORT, "alignment", "Table 21"),
    Entry(Source.REPORT, "alignment_table", "Table 21"),
    Entry(Source.REPORT, "spectrum"),
)
"""Every entry's name is its own, and so is the experiment's under which a simulation's picture goes."""

NAMES = tuple(entry.name for entry in CATALOGUE)
