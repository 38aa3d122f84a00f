"""Distance of the plain and of the drift-corrected merge from joint training, over the way trained."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.model_rows import COLOURS, stripe
from figures.simulation.findings import found, intervals, predicted
from figures.simulation.intervals import mean_intervals
from figures.simulation.panels import Row, panels
from figures.simulation.series import Series
from figures.simulation.value_axes import logarithmic, tried
from figures.simulation_result import SimulationResult
from figures.style import GROUP_COLOURS, INK, LINE, MARGIN, MUTED, TEXT_SIZE, styled, text_width

DASHED = (0.0, (3.0, 2.0))
SLOPE = "slope of the distance from joint training in ητ"
RATIO = "distance of the corrected merge over that of the merge"
CLOSER = "share of draws where the corrected merge is closer to joint"
LOWER = "share of draws where the corrected merge has the lower mixture loss"
LOSSES = "mixture loss above its minimum at the largest ητ"
DISTANCES = (
    Series("merged", COLOURS["merged"], "o"),
    Series("drift-corrected", GROUP_COLOURS[2], "s"),
    Series("merged and one plain step", GROUP_COLOURS[3], "^"),
    Series("merged and one plain step, from joint after τ+1 steps", GROUP_COLOURS[3], "v", DASHED),
)
"""In the order of the array."""

TOLD = Series("predicted slope", MUTED, "", (0.0, (1.0, 1.5)))


@styled()
def draw(result: SimulationResult) -> Figure:
    """Distances by ητ with their slopes, and how often the corrected merge is closer or has the lower loss.

    Raises:
        InputError: the result lacks a finding that is drawn.
    """
    slopes = predicted(result, SLOPE)
    names = [name for name in found(result, LOSSES) if name != "gain"]
    told = ", ".join(f"{slopes[series.label]:g}" for series in DISTANCES)
    rows = [
        Row(
            ["distance from joint training", "corrected over plain distance"],
            1.7,
            (*DISTANCES, TOLD),
            [f"slopes of {told} in the order of the legend", predicted(result, RATIO)],
        ),
        Row(
            ["share of draws: corrected merge closer", "share of draws: corrected merge has the lower loss"],
            1.0,
            (),
            [predicted(result, name) for name in (CLOSER, LOWER)],
        ),
        Row(
            [f"mixture loss at ητ = {result.arrays['progress'][-1]:g}"],
            0.16 * len(names),
            (),
            [predicted(result, LOSSES)],
            left=MARGIN + max(text_width(name, TEXT_SIZE) for name in names) + 0.12,
        ),
    ]
    figure, ((distance, ratio), (closer, lower), (losses,)) = panels(
        "Distance of the merge from joint training, plain and drift-corrected",
        f"One random split of every draw, {result.arrays['steps']} steps, ητ where the sharpest curvature is one. The "
        "corrected merge takes one more round of gradients; the plain step spends them otherwise. Dotted: the "
        "predicted slopes through the first points. Bands and bars: 95 % intervals over draws.",
        rows,
    )
    progress = result.arrays["progress"]
    for series, own in zip(DISTANCES, result.arrays["distance"], strict=True):
        measured = mean_intervals(own)
        series.curve(distance, progress, measured)
        TOLD.bare(distance, progress, measured.mean[0] * (progress / progress[0]) ** slopes[series.label])
    logarithmic(distance, "y")
    distance.set_ylabel("Euclidean distance")
    keys = [f"ητ = {way:g}" for way in progress]
    DISTANCES[1].curve(ratio, progress, intervals(result, RATIO, keys))
    ratio.axhline(1, color=LINE, linewidth=0.8, zorder=0)
    logarithmic(ratio, "y")
    ratio.set_ylabel("ratio of distances")
    for name, axes in ((CLOSER, closer), (LOWER, lower)):
        DISTANCES[1].curve(axes, progress, intervals(result, name, keys))
        axes.axhline(0.5, color=LINE, linewidth=0.8, zorder=0)
        axes.set_ylim(-0.03, 1.03)
    for axes in (distance, ratio, closer, lower):
        tried(axes, progress)
        axes.set_xlabel("ητ")
    _draw_losses(losses, result, names)
    return figure


def _draw_losses(axes: Axes, result: SimulationResult, names: Sequence[str]) -> None:
    places = np.arange(len(names))
    Series("", INK, line="").row(axes, places, intervals(result, LOSSES, names))
    logarithmic(axes, "x")
    stripe(axes, len(names))
    axes.set_yticks(places, names)
    axes.set_xlabel("mixture loss above its minimum")
