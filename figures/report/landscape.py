"""Loss surfaces over planes through weight space, with the checkpoints in them (Figure 2)."""

import math
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.label_placement import place_labels
from figures.style import (
    DIVERGING,
    FULL_WIDTH,
    GROUP_COLOURS,
    INK_ON_COLOUR,
    LINE,
    MUTED,
    MUTED_ON_COLOUR,
    POINTS_PER_INCH,
    TEXT_SIZE,
    axes_at,
    headed_figure,
    styled,
    text_width,
)
from training.run_directory import ReportDirectory, read_json

BANDS = 8
"""Between contours."""

WIDE_RANGE = 8.0
"""Highest over median rise of a surface, beyond which evenly spaced contours would leave its valley blank."""

MARKERS = {
    "start": ("*", INK_ON_COLOUR, 9.0),
    "merged": ("D", GROUP_COLOURS[0], 5.5),
    "joint": ("s", GROUP_COLOURS[1], 5.0),
    "joint-equal-steps": ("P", GROUP_COLOURS[5], 6.0),
}
"""Shape, colour and diameter in points of each checkpoint that is not a branch."""
BRANCH = ("o", GROUP_COLOURS[2], 5.0)

LABEL_BOX = {"facecolor": "#ffffff", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}

MOST_DIGITS = 6

# Layout in inches.
LEFT = 0.55
BOTTOM = 0.45
ABOVE = 0.25
SIDE = 2.1
SIDE_ALONE = 3.6
BAR_GAP = 0.08
BAR_WIDTH = 0.1
PANEL = 3.55
"""From one panel's left side to the next one's, with its colour bar."""

TITLES = {"pca": "plane of the checkpoints", "random": "random plane around the merged model"}


@styled()
def draw(directory: ReportDirectory) -> Figure:
    """Contours of the loss over each plane that was measured, with checkpoints, grid points and the grid's minimum.

    Raises:
        InputError: the landscape was not measured.
    """
    surfaces = read_json(directory.values("landscape"))["result"]["surfaces"]
    sentence = (
        "Dots: where the loss was measured. Cross: the lowest of them. Checkpoints are projected into the plane; "
        "beneath one that does not lie in it the surface is not its own loss. Contours are closer together in a valley "
        "that would be blank otherwise."
    )
    if any(loss is None for surface in surfaces for row in surface["losses"] for loss in row):
        sentence += " Hatched: beside points whose loss was infinite or no number."
    side = SIDE_ALONE if len(surfaces) == 1 else SIDE
    figure = headed_figure(FULL_WIDTH, BOTTOM + side + ABOVE, "Loss surface", sentence)
    for number, surface in enumerate(surfaces):
        left = LEFT + number * PANEL
        axes = axes_at(figure, left, BOTTOM, side, side)
        levels = contour_levels(np.array(surface["losses"], dtype=np.float64))
        filled = _draw_surface(axes, surface, side, levels)
        bar = figure.colorbar(filled, cax=axes_at(figure, left + side + BAR_GAP, BOTTOM, BAR_WIDTH, side))
        bar.set_label("nats per answer token")
        bar.set_ticks(levels.tolist(), labels=[f"{level:.{_digits(levels)}f}" for level in levels])
        bar.outline.set_edgecolor(LINE)
        bar.ax.minorticks_off()
    return figure


def contour_levels(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Heights of the contours, from the least loss to the greatest; NaN is passed over.

    Evenly spaced, or where the range is wide each twice as far above the least loss as the one before.

    >>> contour_levels(np.array([0.0, 4.0, 8.0])).tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    >>> contour_levels(np.array([1.0, 1.0, 129.0])).tolist()
    [1.0, 2.0, 3.0, 5.0, 9.0, 17.0, 33.0, 65.0, 129.0]
    """
    low, median, high = np.nanquantile(losses, (0.0, 0.5, 1.0))
    span = high - low or 1.0
    if span > WIDE_RANGE * (median - low):
        return low + span * np.concatenate([[0.0], 0.5 ** np.arange(BANDS - 1, -1, -1)])
    return low + span * np.linspace(0.0, 1.0, BANDS + 1)


def _draw_surface(axes: Axes, surface: dict[str, Any], side: float, levels: NDArray[np.float64]) -> QuadContourSet:
    first, second = np.array(surface["first"]), np.array(surface["second"])
    losses = np.array(surface["losses"], dtype=np.float64)  # None becomes NaN
    norm = BoundaryNorm(levels, 256)
    masked = np.ma.masked_invalid(losses)
    axes.patch.set(hatch="/////", edgecolor=LINE)
    filled = axes.contourf(first, second, masked, levels, cmap=_colours(), norm=norm)
    axes.contour(first, second, masked, levels[1:-1], colors=[MUTED_ON_COLOUR], linewidths=0.4)
    axes.plot(*(grid.ravel() for grid in np.meshgrid(first, second)), ".", color=MUTED_ON_COLOUR, markersize=1.5)
    axes.plot(*surface["minimum"]["position"], "x", color=INK_ON_COLOUR, markersize=5, clip_on=False)
    _draw_checkpoints(axes, surface, side)
    axes.set(xlim=first[[0, -1]], ylim=second[[0, -1]])
    axes.locator_params(nbins=5)
    axes.set_title(TITLES[surface["plane"]], loc="left", size="medium", color=MUTED)
    axes.set_xlabel(_axis_name(surface, 0))
    axes.set_ylabel(_axis_name(surface, 1), labelpad=1)
    return filled


def _draw_checkpoints(axes: Axes, surface: dict[str, Any], side: float) -> None:
    names = list(surface["positions"])
    places = np.array([surface["positions"][name] for name in names])
    low = np.array([surface["first"][0], surface["second"][0]])
    scale = np.array([surface["first"][-1], surface["second"][-1]]) - low
    scale = scale / (side * POINTS_PER_INCH)
    styles = [MARKERS.get(name, BRANCH) for name in names]
    for (x, y), (marker, colour, size) in zip(places, styles, strict=True):
        axes.plot(x, y, marker, color=colour, markersize=size, markeredgecolor="#ffffff", markeredgewidth=0.5)
    labels = place_labels(
        (places - low) / scale,
        np.array([size / 2 for *_, size in styles]),
        np.array([(text_width(name, TEXT_SIZE) * POINTS_PER_INCH + 2, 1.3 * TEXT_SIZE) for name in names]),
        (side * POINTS_PER_INCH, side * POINTS_PER_INCH),
    )
    for name, label in zip(names, labels, strict=True):
        if label is not None:
            if label.leader is not None:
                axes.plot(*(low + scale * np.array(label.leader)).T, color=MUTED_ON_COLOUR, linewidth=0.5)
            x, y = low + scale * np.array(label.centre)
            axes.text(x, y, name, color=INK_ON_COLOUR, ha="center", va="center", bbox=LABEL_BOX)


def _axis_name(surface: dict[str, Any], axis: int) -> str:
    if surface["explained"] is None:
        return f"direction {axis + 1}, over the norm of each row"
    share = 100 * surface["explained"][axis]
    return f"axis {axis + 1} ({share:.0f} % of squared displacements)"


def _digits(levels: NDArray[np.float64]) -> int:
    """Decimals that tell the lowest two contours apart."""
    return min(max(0, 1 - math.floor(math.log10(levels[1] - levels[0]))), MOST_DIGITS)


def _colours() -> Colormap:
    """From white, where the loss is least, to blue."""
    return ListedColormap(colormaps[DIVERGING](np.linspace(0.5, 0.92, 256)))
