"""Rings around tasks: the wider, the more often resampled data would move the task to another group."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from figures.style import INK

LEGEND_FLIPS = (0.1, 0.3, 0.5)


def ring_diameters(flips: NDArray[np.float64], diameter: float) -> NDArray[np.float64]:
    """Diameters in points: just outside the marker for a task that hardly moves, three markers for an even chance."""
    return diameter * (1.4 + 3.2 * flips)


def draw_rings(
    axes: Axes,
    coordinates: NDArray[np.float64],
    flips: NDArray[np.float64],
    tasks: Sequence[int],
    diameter: float,
    colour: str,
) -> None:
    """Rings around those of ``tasks`` that ever move, at their ``coordinates`` [n_tasks, 2]."""
    unsure = [task for task in tasks if flips[task] > 0]
    sizes = ring_diameters(flips[unsure], diameter) ** 2
    axes.scatter(*coordinates[unsure].T, s=sizes, facecolors="none", edgecolors=colour, linewidths=0.8)


def rings_legend(axes: Axes, diameter: float) -> None:
    """A legend of three rings, right of the axes at their foot."""
    ring = partial(Line2D, [], [], linestyle="", marker="o", color=INK, markerfacecolor="none", markeredgewidth=0.8)
    sizes = ring_diameters(np.array(LEGEND_FLIPS), diameter)
    handles = [
        ring(markersize=size, label=f"{100 * flip:.0f} %") for flip, size in zip(LEGEND_FLIPS, sizes, strict=True)
    ]
    axes.legend(
        handles=handles,
        title="flip probability",
        loc="lower left",
        bbox_to_anchor=(1, 0),
        alignment="left",
        labelspacing=1.6,
        handlelength=1.8,
        handletextpad=1.0,
        borderpad=0.8,
    )
