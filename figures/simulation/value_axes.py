"""Axes whose values are those an experiment tried, or powers of ten."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

MOST_TICKS = 7
"""More values than this on an axis are not all written; powers of ten are."""

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    """Give an axis a logarithmic scale, with powers of ten written without mathematical type."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log"})
    axis.set_major_locator(LogLocator(numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: written(value)))
    axis.set_minor_formatter(NullFormatter())


def tried(axes: Axes, values: Sequence[float] | NDArray[np.generic]) -> None:
    """Make the x axis logarithmic, with a tick at each of ``values`` where they are few."""
    logarithmic(axes, "x")
    if len(values) <= MOST_TICKS:
        numbers = [float(value) for value in values]
        axes.set_xticks(numbers, [written(value) for value in numbers])
        axes.xaxis.set_minor_locator(NullLocator())


def written(value: float) -> str:
    """A number as an axis shows it.

    >>> written(0.0125), written(200.0), written(1e-5), written(3e7)
    ('0.0125', '200', '10⁻⁵', '3·10⁷')
    """
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:g}"
    front, _, power = f"{value:.3e}".partition("e")
    front = f"{float(front):g}·" if float(front) != 1 else ""
    return f"{front}10{str(int(power)).translate(SUPERSCRIPTS)}"
