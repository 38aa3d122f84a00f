"""Loss surfaces over planes through weight space, with the checkpoints in them (Figure 2)."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.point_names import place_names, write_names
from figures.report.loss_surface import BRANCH, MARKERS, TITLES, axis_name, colours, contour_levels, level_digits
from figures.style import (
    FULL_WIDTH,
    INK_ON_COLOUR,
    LINE,
    MUTED,
    MUTED_ON_COLOUR,
    POINTS_PER_INCH,
    TEXT_SIZE,
    axes_at,
    headed_figure,
    styled,
)
from training.run_directory import ReportDirectory, read_json

LABEL_BOX = {"facecolor": "#ffffff", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}

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
        bar.set_ticks(levels.tolist(), labels=[f"{level:.{level_digits(levels)}f}" for level in levels])
        bar.outline.set_edgecolor(LINE)
        bar.ax.minorticks_off()
    return figure


def _draw_surface(axes: Axes, surface: dict[str, Any], side: float, levels: NDArray[np.float64]) -> QuadContourSet:
    first, second = np.array(surface["first"]), np.array(surface["second"])
    losses = np.array(surface["losses"], dtype=np.float64)  # None becomes NaN
    norm = BoundaryNorm(levels, 256)
    masked = np.ma.masked_invalid(losses)
    axes.patch.set(hatch="/////", edgecolor=LINE)
    filled = axes.contourf(first, second, masked, levels, cmap=colours(), norm=norm)
    axes.contour(first, second, masked, levels[1:-1], colors=[MUTED_ON_COLOUR], linewidths=0.4)
    axes.plot(*(grid.ravel() for grid in np.meshgrid(first, second)), ".", color=MUTED_ON_COLOUR, markersize=1.5)
    axes.plot(*surface["minimum"]["position"], "x", color=INK_ON_COLOUR, markersize=5, clip_on=False)
    _draw_checkpoints(axes, surface, side)
    axes.set(xlim=first[[0, -1]], ylim=second[[0, -1]])
    axes.locator_params(nbins=5)
    axes.set_title(TITLES[surface["plane"]], loc="left", size="medium", color=MUTED)
    axes.set_xlabel(axis_name(surface, 0))
    axes.set_ylabel(axis_name(surface, 1), labelpad=1)
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
    labels = place_names(
        names,
        TEXT_SIZE,
        (places - low) / scale,
        np.array([size / 2 for *_, size in styles]),
        (side * POINTS_PER_INCH, side * POINTS_PER_INCH),
        (2.0, 1.3),
    )
    write_names(axes, names, TEXT_SIZE, labels, low, scale, LABEL_BOX, INK_ON_COLOUR, MUTED_ON_COLOUR, 2.0)
