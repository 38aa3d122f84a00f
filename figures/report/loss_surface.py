"""What the pictures of a loss surface have in common: its levels and their colours, and what checkpoints look like."""

import math
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap, ListedColormap
from numpy.typing import NDArray

from figures.style import DIVERGING, GROUP_COLOURS, INK_ON_COLOUR

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

MOST_DIGITS = 6

TITLES = {"pca": "plane of the checkpoints", "random": "random plane around the merged model"}


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


def axis_name(surface: dict[str, Any], axis: int) -> str:
    """What an axis of the plane is, by its number from 0."""
    if surface["explained"] is None:
        return f"direction {axis + 1}, over the norm of each row"
    share = 100 * surface["explained"][axis]
    return f"axis {axis + 1} ({share:.0f} % of squared displacements)"


def level_digits(levels: NDArray[np.float64]) -> int:
    """Decimals that tell the lowest two contours apart."""
    return min(max(0, 1 - math.floor(math.log10(levels[1] - levels[0]))), MOST_DIGITS)


def colours() -> Colormap:
    """From white, where the loss is least, to blue."""
    return ListedColormap(colormaps[DIVERGING](np.linspace(0.5, 0.92, 256)))
