"""Merging gain against the loss of the merged model, over the merged arms of a run: whether the one tells the other."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.arm_families import Family, family_of
from figures.names import shortened
from figures.point_names import place_names, write_names
from figures.recorded import arms_of
from figures.style import (
    FULL_WIDTH,
    GROUP_COLOURS,
    GROUP_MARKERS,
    LINE,
    MUTED,
    POINTS_PER_INCH,
    SMALLEST_SIZE,
    TEXT_SIZE,
    axes_at,
    headed_figure,
    styled,
)
from training.errors import MissingInput
from training.run_directory import RunDirectory

FEW_ARMS = 16
LONGEST_NAME = 26
NO_AVERAGE = (Family.OPERATORS, Family.FITTED)
SENTENCE = (
    "Gain: mean loss of the branches minus that of the merged model. If it told how good the merged model is, the "
    "points would fall from the upper left to the lower right; some of that is built in, as the loss is a part of the "
    "gain. Bars: 95 % intervals of the loss over test items. Averages alone: other merges of the same branches lie on "
    "one falling line whatever they do."
)

# Layout in inches.
LEFT = 0.6
BOTTOM = 0.45
WIDTH = 5.3
HEIGHT = 3.8


@styled()
def draw(run: RunDirectory) -> Figure:
    """A point for each arm that averages evaluated branches, in the colour of its number of branches.

    What merges the same branches otherwise is left out: its gain is their loss, a constant, minus its own.

    Raises:
        MissingInput: the run has not ended, or no gain was measured in it.
    """
    rows = {
        arm: row for arm, row in arms_of(run).items() if row["gain"] is not None and family_of(arm) not in NO_AVERAGE
    }
    if not rows:
        raise MissingInput(
            f"{run.root} has no arm with a measured gain; run one with branches, such as merit-1d, and with "
            "evaluation.branches = true"
        )
    points = np.array([(row["gain"], row["loss"]["value"]) for row in rows.values()])
    ends = np.array([(row["loss"]["low"], row["loss"]["high"]) for row in rows.values()])
    lower, upper = _window(points, ends)
    size = TEXT_SIZE if len(rows) <= FEW_ARMS else SMALLEST_SIZE
    names = [shortened(arm, LONGEST_NAME) for arm in rows]
    scale = (upper - lower) / (np.array([WIDTH, HEIGHT]) * POINTS_PER_INCH)
    places = place_names(
        names,
        size,
        (points - lower) / scale,
        np.full(len(rows), 3.5),
        (WIDTH * POINTS_PER_INCH, HEIGHT * POINTS_PER_INCH),
    )
    nameless = places.count(None)
    sentence = SENTENCE + (f" {nameless} of {len(names)} names find no room." if nameless else "")
    title = f"Gain and merged loss over the arms of the run {run.root.resolve().name}"
    figure = headed_figure(FULL_WIDTH, BOTTOM + HEIGHT + 0.1, title, sentence)
    axes = axes_at(figure, LEFT, BOTTOM, WIDTH, HEIGHT)
    axes.set(xlim=(lower[0], upper[0]), ylim=(lower[1], upper[1]))
    _draw_points(axes, rows)
    write_names(axes, names, size, places, lower, scale)
    axes.axvline(0, color=LINE, linewidth=0.7, zorder=0)
    axes.set_xlabel("gain, nats per answer token")
    axes.set_ylabel("loss of the merged model, nats per answer token")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _window(points: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the plane, with room for names at its rim."""
    low = np.array([points[:, 0].min(), ends[:, 0].min()])
    high = np.array([points[:, 0].max(), ends[:, 1].max()])
    margin = 0.14 * (high - low)
    margin[margin == 0] = 0.1
    return low - margin, high + margin


def _draw_points(axes: Axes, rows: Mapping[str, Mapping[str, Any]]) -> None:
    for number, count in enumerate(sorted({row["branches"] for row in rows.values()})):
        own = [row for row in rows.values() if row["branches"] == count]
        colour, marker = GROUP_COLOURS[number % len(GROUP_COLOURS)], GROUP_MARKERS[number % len(GROUP_MARKERS)]
        gains = [row["gain"] for row in own]
        losses, low, high = ([row["loss"][end] for row in own] for end in ("value", "low", "high"))
        axes.vlines(gains, low, high, color=colour, linewidth=0.6, alpha=0.5, zorder=1)
        axes.scatter(gains, losses, s=20, marker=marker, color=colour, linewidths=0, label=f"K = {count}")
    axes.legend(
        title="branches", loc="upper left", bbox_to_anchor=(1.0, 1.0), alignment="left", labelcolor=MUTED, borderpad=0.8
    )
