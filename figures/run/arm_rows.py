"""Rows of arms under the names of their families, for pictures with a row for each arm."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.arm_families import by_family
from figures.names import shortened
from figures.style import FAINT, INK, LINE, MARGIN, MUTED, POINTS_PER_INCH, SMALLEST_SIZE, axes_at, text_width

ROW = 0.145
"""Height of a row in inches."""
NAME_SIZE = 6.0
LONGEST_NAME = 36
FAR = 5.0
"""Where a panel ends, in median distances from its median: one model that diverged would flatten all others."""


@dataclass(frozen=True, slots=True)
class ArmRows:
    """Where each arm stands, in rows from the top.

    Attributes:
        arms: row of each arm by its name.
        headings: row of each heading.
        count: of all rows.
    """

    arms: Mapping[str, int]
    headings: Mapping[str, int]
    count: int

    @classmethod
    def of(cls, arms: Iterable[str], beside: Sequence[str] = (), heading: str = "") -> "ArmRows":
        """Rows for arms by family, then for what else stands ``beside`` them under its own ``heading``."""
        groups: dict[str, Sequence[str]] = {family.value: own for family, own in by_family(arms).items()}
        if beside:
            groups[heading] = beside
        places, headings, row = {}, {}, 0
        for name, own in groups.items():
            headings[name] = row
            places |= {arm: row + 1 + number for number, arm in enumerate(own)}
            row += 1 + len(own)
        return cls(places, headings, row)

    @property
    def height(self) -> float:
        """Inches of all rows."""
        return ROW * self.count

    @property
    def left(self) -> float:
        """Inches that the names take, and the picture's margin."""
        names = [*(text_width(shortened(arm, LONGEST_NAME), NAME_SIZE) for arm in self.arms), 1.0]
        return MARGIN + max(names) + 0.12

    def panel(self, figure: Figure, left: float, bottom: float, width: float, title: str) -> Axes:
        """A panel over all rows, ``left`` and ``bottom`` inches from the figure's corner, with rows at 0, 1, 2."""
        axes = axes_at(figure, left, bottom, width, self.height)
        axes.set_ylim(self.count - 0.5, -0.5)
        axes.set_title(title, size="medium", loc="left", color=MUTED)
        striped = [row for row in self.arms.values() if row % 2]
        across, thick = axes.get_yaxis_transform(), ROW * POINTS_PER_INCH
        axes.hlines(striped, 0, 1, transform=across, color=FAINT, linewidth=thick, zorder=-1, alpha=0.6)
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.set_yticks([])
        return axes

    def write_names(self, figure: Figure, bottom: float) -> None:
        """Names of arms and headings, left of all panels."""
        axes = axes_at(figure, 0, bottom, self.left, self.height)
        axes.set(xlim=(0, self.left), ylim=(self.count - 0.5, -0.5))
        axes.set_axis_off()
        for arm, row in self.arms.items():
            name = shortened(arm, LONGEST_NAME)
            axes.text(self.left - 0.08, row, name, size=NAME_SIZE, ha="right", va="center", color=INK)
        for heading, row in self.headings.items():
            axes.text(MARGIN, row + 0.1, heading, size=NAME_SIZE, weight="bold", va="center", color=MUTED)


def limit(axes: Axes, values: Sequence[float], ends: Sequence[float] = ()) -> None:
    """Set the panel's range to the values that are not far from the others, with the ``ends`` of their intervals."""
    middle = float(np.median(values))
    reach = FAR * float(np.median(np.abs(np.array(values) - middle)))
    near = [value for value in values if not reach or abs(value - middle) <= reach]
    hold(axes, [*near, *(end for end in ends if not reach or abs(end - middle) <= reach)])


def hold(axes: Axes, values: Sequence[float]) -> None:
    """Set the panel's range to hold all values."""
    margin = 0.06 * (max(values) - min(values)) or 0.5
    axes.set_xlim(min(values) - margin, max(values) + margin)


def mark(axes: Axes, row: float, value: float, colour: str, size: float = 3.6, hollow: bool = False) -> None:
    """A dot at ``value``, or at the panel's rim an arrow with the number, where it lies beyond."""
    low, high = axes.get_xlim()
    face = "none" if hollow else colour
    if low <= value <= high:
        axes.plot(value, row, marker="o", markersize=size, color=colour, markerfacecolor=face)
        return
    right = value > high
    axes.plot(high if right else low, row, marker=">" if right else "<", markersize=size, color=colour, clip_on=False)
    axes.annotate(
        f"{value:.3g}".replace("-", "−"),
        (high if right else low, row),
        xytext=(-5 if right else 5, 0),
        textcoords="offset points",
        ha="right" if right else "left",
        va="center",
        size=SMALLEST_SIZE,
        color=MUTED,
    )


def whisker(axes: Axes, row: float, interval: Mapping[str, float], colour: str) -> None:
    """An interval whose value lies in the panel; an end beyond it is cut off."""
    low, high = axes.get_xlim()
    if low <= interval["value"] <= high:
        axes.plot([interval["low"], interval["high"]], [row, row], color=colour, linewidth=1.2, solid_capstyle="butt")


def zero_line(axes: Axes, value: float = 0.0) -> None:
    """A line that numbers are read against."""
    axes.axvline(value, color=LINE, linewidth=0.7, zorder=0)
