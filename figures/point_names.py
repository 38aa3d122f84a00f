"""Names written beside the points of a panel, where they find room."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from figures.label_placement import Placement, place_labels
from figures.style import INK, LINE, POINTS_PER_INCH, text_width


def place_names(
    names: Sequence[str],
    size: float,
    points: NDArray[np.float64],
    radii: NDArray[np.float64],
    area: tuple[float, float],
    box: tuple[float, float] = (1.0, 1.2),
) -> list[Placement | None]:
    """A place for each name, None where there is no room; all lengths in typographic points.

    Args:
        names: one for each point.
        size: of the type.
        points: float [n, 2], from the lower left corner of the panel.
        radii: float [n], of the marks at the points.
        area: width and height of the panel.
        box: what a name takes besides its width, and its height over the size of the type.
    """
    wider, lines = box
    sizes = np.array([(text_width(name, size) * POINTS_PER_INCH + wider, lines * size) for name in names])
    return place_labels(points, radii, sizes, area)


def write_names(
    axes: Axes,
    names: Sequence[str],
    size: float,
    places: Sequence[Placement | None],
    lower: NDArray[np.float64],
    scale: ArrayLike,
    box: Mapping[str, object] | None = None,
    colour: str = INK,
    leader: str = LINE,
    height: float = 0.8,
) -> None:
    """Write the names that found a place.

    Args:
        axes: the panel.
        names: as they were placed.
        size: of the type, in points.
        places: of the names.
        lower: float [2], what the panel's lower left corner stands for.
        scale: what a typographic point stands for, along either axis or along both alike.
        box: what lies behind a name, as matplotlib describes it.
        colour: of the names.
        leader: colour of the lines to names that stand off their points.
        height: of these lines over or under what else is drawn (matplotlib's zorder).
    """
    for name, place in zip(names, places, strict=True):
        if place is None:
            continue
        if place.leader is not None:
            ends = lower + np.asarray(scale) * np.array(place.leader)
            axes.plot(*ends.T, color=leader, linewidth=0.5, zorder=height)
        x, y = lower + np.asarray(scale) * np.array(place.centre)
        axes.text(x, y, name, size=size, color=colour, ha="center", va="center", bbox=box)
