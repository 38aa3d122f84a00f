"""Loss surfaces as basins in three dimensions, over the same planes and with the same levels as the maps (Figure 2)."""

from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from numpy.typing import NDArray

from figures.report.loss_surface import BANDS, BRANCH, MARKERS, TITLES, axis_name, colours, contour_levels, level_digits
from figures.style import FAINT, FULL_WIDTH, INK, INK_ON_COLOUR, LINE, MUTED, MUTED_ON_COLOUR, headed_figure, styled
from training.run_directory import ReportDirectory, read_json

ELEVATION, AZIMUTH = 38.0, -125.0
"""From where the surface is seen, in degrees: high enough to look into a basin."""

TICKS = 4

# Layout in inches.
LEGEND = 0.3
SHIFT = 0.06
"""To the right, for the name of the heights."""
SIDE = 3.4
SIDE_ALONE = 4.4

HEIGHT, SUNK = 0.92, 0.02
"""Of a surface, and how far its square reaches below it, over the side of the square."""


@styled()
def draw(directory: ReportDirectory) -> Figure:
    """Each plane's surface through the points that were measured, with the checkpoints on it.

    Raises:
        MissingInput: the landscape was not measured.
    """
    surfaces = read_json(directory.values("landscape"))["result"]["surfaces"]
    sentence = (
        "Height: loss in nats per answer token; the levels are those of the map, closer together in a valley that "
        "would be flat otherwise. Corners of the facets: where the loss was measured. Checkpoints are projected into "
        "the plane and stand on the surface, which is not their own loss where they do not lie in the plane."
    )
    if any(loss is None for surface in surfaces for row in surface["losses"] for loss in row):
        sentence += " Holes: beside points whose loss was infinite or no number."
    side = SIDE_ALONE if len(surfaces) == 1 else SIDE
    figure = headed_figure(FULL_WIDTH, LEGEND + HEIGHT * side, "Loss surface as a basin", sentence)
    across = FULL_WIDTH / len(surfaces)
    for number, surface in enumerate(surfaces):
        left = number * across + (across - side) / 2
        _draw_basin(figure, surface, left, side)
    _add_legend(figure, [name for surface in surfaces for name in surface["positions"]])
    return figure


def _draw_basin(figure: Figure, surface: dict[str, Any], left: float, side: float) -> None:
    across, up = figure.get_size_inches()
    place = ((left + SHIFT) / across, (LEGEND - SUNK * side) / up, side / across, side / up)
    with rc_context({"grid.color": FAINT, "grid.linewidth": 0.5}):  # these axes read it once, when they are made
        axes: Any = figure.add_axes(place, projection="3d", computed_zorder=False)  # stubs know flat axes only
    first, second = np.array(surface["first"]), np.array(surface["second"])
    losses = np.array(surface["losses"], dtype=np.float64)  # None becomes NaN
    levels = contour_levels(losses)
    heights = heights_of(losses, levels)
    faces = _facets(first, second, heights)
    facets = Poly3DCollection(
        faces, cmap=colours(), norm=Normalize(0, BANDS), edgecolor=MUTED_ON_COLOUR, linewidth=0.3, zorder=1
    )
    facets.set_array(faces[:, :, 2].mean(axis=1))
    axes.add_collection3d(facets)
    for name, (x, y) in surface["positions"].items():
        marker, colour, size = MARKERS.get(name, BRANCH)
        height = _height_at(first, second, heights, x, y)
        axes.plot(
            [x], [y], [height], marker, color=colour, markersize=size, markeredgecolor="#ffffff", markeredgewidth=0.5
        )
    axes.text2D(
        0.5, HEIGHT + SUNK, TITLES[surface["plane"]], transform=axes.transAxes, color=MUTED, ha="center", va="top"
    )
    _label_axes(axes, surface, levels)


def _facets(
    first: NDArray[np.float64], second: NDArray[np.float64], heights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Corners [facets, 4, 3] of the quadrilaterals between measured points, without those that lack a corner."""
    points = np.stack([*np.meshgrid(first, second), heights], axis=-1)
    corners = points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]
    facets = np.stack([corner.reshape(-1, 3) for corner in corners], axis=1)
    return facets[np.isfinite(facets).all(axis=(1, 2))]


def heights_of(losses: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Losses on a scale where every level is one above the last; NaN stays.

    >>> heights_of(np.array([0.5, 3.0]), np.array([0.0, 1.0, 5.0])).tolist()
    [0.5, 1.5]
    """
    return np.interp(losses, levels, np.arange(len(levels)))


def _height_at(
    first: NDArray[np.float64], second: NDArray[np.float64], heights: NDArray[np.float64], x: float, y: float
) -> float:
    """Height of the surface at a place, linear along both axes between the points that were measured."""
    rows = [np.interp(x, first, row) for row in heights]
    return float(np.interp(y, second, rows))


def _label_axes(axes: Any, surface: dict[str, Any], levels: NDArray[np.float64]) -> None:
    axes.view_init(ELEVATION, AZIMUTH)
    axes.set_box_aspect((1, 1, 0.7), zoom=0.84)
    axes.set(xlim=surface["first"][:: len(surface["first"]) - 1], ylim=surface["second"][:: len(surface["second"]) - 1])
    axes.set_xlabel(axis_name(surface, 0).replace(" (", "\n("), labelpad=-4)
    axes.set_ylabel(axis_name(surface, 1).replace(" (", "\n("), labelpad=-4)
    axes.set_zticks(range(BANDS + 1), [f"{level:.{level_digits(levels)}f}" for level in levels])
    axes.set_zlim(0, BANDS)
    axes.set_zlabel("nats per answer token", rotation=90, labelpad=1)
    axes.locator_params(axis="x", nbins=TICKS)
    axes.locator_params(axis="y", nbins=TICKS)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((1.0, 1.0, 1.0, 0.0))
        axis.pane.set_edgecolor(FAINT)
        axis.line.set_color(LINE)
        axis.set_tick_params(pad=0 if axis is axes.zaxis else -3)


def _add_legend(figure: Figure, names: list[str]) -> None:
    """Below the surfaces, in the order in which checkpoints are named; all branches together."""
    shown = dict.fromkeys(name if name in MARKERS else "branches" for name in names)
    handles = []
    for name in shown:
        marker, colour, size = MARKERS.get(name, BRANCH)
        colour = INK if colour == INK_ON_COLOUR else colour  # the legend lies on the page, which may be dark
        handles.append(Line2D([], [], linestyle="", marker=marker, color=colour, markersize=size, label=name))
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), borderaxespad=0.4, handletextpad=0.3)
