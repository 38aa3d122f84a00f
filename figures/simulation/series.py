"""What is compared in a picture of a simulation: a name, how it looks, and its means with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from figures.simulation.intervals import Intervals

BAND = 0.22
"""Opacity of an interval along a curve."""


@dataclass(frozen=True, slots=True)
class Series:
    """One of the things that are compared.

    Attributes:
        label: its name in the legend.
        colour: one of those that swap in dark mode.
        marker: of matplotlib; empty for none.
        line: matplotlib's line style; empty for marks alone.
    """

    label: str
    colour: str
    marker: str = "o"
    line: Literal["", "-", ":"] | tuple[float, Sequence[float]] = "-"

    @property
    def handle(self) -> Line2D:
        """What the legend shows."""
        return self._line([], [])

    def curve(self, axes: Axes, places: ArrayLike, intervals: Intervals) -> None:
        """Means over ``places``, with intervals as a band."""
        axes.fill_between(
            np.asarray(places), intervals.low, intervals.high, color=self.colour, alpha=BAND, linewidth=0, zorder=1
        )
        axes.add_line(self._line(places, intervals.mean))
        axes.autoscale_view()

    def row(self, axes: Axes, heights: ArrayLike, intervals: Intervals) -> None:
        """Means at ``heights`` from the top, with intervals as level bars."""
        axes.hlines(np.asarray(heights), intervals.low, intervals.high, color=self.colour, linewidth=1.2)
        axes.add_line(self._line(intervals.mean, heights))
        axes.autoscale_view()

    def bare(self, axes: Axes, places: ArrayLike, values: ArrayLike) -> None:
        """Values that have no interval, such as predictions."""
        axes.add_line(self._line(places, values))
        axes.autoscale_view()

    def _line(self, x: ArrayLike, y: ArrayLike) -> Line2D:
        return Line2D(
            np.asarray(x),
            np.asarray(y),
            color=self.colour,
            marker=self.marker or "None",
            linestyle=self.line or "None",
            markersize=3.2,
            linewidth=1.0,
            label=self.label,
            zorder=3,
        )
