"""Paths of branches through weight space, in the plane of their principal axes (Figure 6)."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import (
    FAINT,
    FULL_WIDTH,
    GROUP_COLOURS,
    INK,
    MUTED,
    POINTS_PER_INCH,
    TEXT_SIZE,
    axes_at,
    headed_figure,
    styled,
)
from training.errors import MissingInput
from training.run_directory import ReportDirectory, read_json

AVERAGE = "average"
OTHERS = {"joint": (GROUP_COLOURS[1], "s"), "joint-equal-steps": (GROUP_COLOURS[5], "P")}
BRANCH_COLOURS = (GROUP_COLOURS[2], GROUP_COLOURS[3], GROUP_COLOURS[4], GROUP_COLOURS[6], GROUP_COLOURS[7])
BRANCH_MARKERS = "o^vX<>"
MOST_NAMED = 12
"""Branches that the legend tells apart; more are one colour."""

# Layout in inches.
LEFT = 0.6
BOTTOM = 0.45
WIDTH = 4.7
HEIGHT = 3.9

SENTENCE = (
    "Each line leads from the start to a model's last recorded step, a mark at every step that was recorded. The "
    "diamond is where the branches' weighted average ends, which is the model of a plain merge. The plane passes "
    "through the start and holds as much of the branches' displacements as a plane can; other models are projected "
    "into it, and the legend says how much of their last displacement lies in it. Both axes have one scale."
)


@styled()
def draw(directory: ReportDirectory) -> Figure:
    """Paths of the branches, of their average, and of joint training where it was recorded.

    Raises:
        MissingInput: displacements were not measured, or without paths.
    """
    path = directory.values("displacement")
    found = read_json(path)["result"].get("paths")
    if found is None:
        raise MissingInput(
            f"{path} holds no paths of branches; run python -m diagnostics again, on a run that recorded them"
        )
    figure = headed_figure(FULL_WIDTH, BOTTOM + HEIGHT + 0.1, "Paths of the branches from the start", SENTENCE)
    axes = axes_at(figure, LEFT, BOTTOM, WIDTH, HEIGHT)
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    axes.axvline(0, color=FAINT, linewidth=0.8, zorder=0)
    models = [model for model in found["models"] if model["steps"]]
    branches = [model for model in models if model["model"].startswith("branch-")]
    for number, branch in enumerate(branches):
        _draw_branch(axes, branch, number, len(branches))
    for model in models:
        if model["model"] == AVERAGE:
            _draw_path(axes, model, GROUP_COLOURS[0], "o", "branches' average")
            axes.plot(
                *model["points"][-1], "D", color=GROUP_COLOURS[0], markersize=6.5, zorder=4, label="end of the average"
            )
        elif model["model"] in OTHERS:
            _draw_path(axes, model, *OTHERS[model["model"]], model["model"])
    axes.plot(0, 0, "*", color=INK, markersize=10, zorder=4, label="start")
    _frame(axes, models)
    first, second = (f"axis {n} ({100 * share:.0f} % of squares)" for n, share in enumerate(found["explained"], 1))
    axes.set_xlabel(first)
    axes.set_ylabel(second)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, title="share in the plane", alignment="left"
    )
    return figure


def _draw_branch(axes: Axes, branch: dict[str, Any], number: int, count: int) -> None:
    if count > MOST_NAMED:
        _draw_path(axes, branch, MUTED, ".", "branches" if number == 0 else "")
        return
    colour = BRANCH_COLOURS[number % len(BRANCH_COLOURS)]
    _draw_path(axes, branch, colour, BRANCH_MARKERS[number % len(BRANCH_MARKERS)], branch["model"])


def _draw_path(axes: Axes, model: dict[str, Any], colour: str, marker: str, name: str) -> None:
    share = f"{name}: {100 * model['inside'][-1]:.0f} %" if name and name != "branches" else name
    points = np.array([(0.0, 0.0), *model["points"]])
    axes.plot(
        *points.T,
        color=colour,
        marker=marker,
        markersize=3.5,
        linewidth=0.9,
        markevery=range(1, len(points)),
        label=share,
        zorder=3 if model["model"] == AVERAGE else 2,
    )


def _frame(axes: Axes, models: list[dict[str, Any]]) -> None:
    """One scale for both axes, and room around the points for their marks."""
    points = np.array([(0.0, 0.0), *(point for model in models for point in model["points"])])
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.array([WIDTH, HEIGHT]) - 2.5 * TEXT_SIZE / POINTS_PER_INCH
    scale = float(((high - low) / room).max()) or 1.0
    half = scale * np.array([WIDTH, HEIGHT]) / 2
    (left, bottom), (right, top) = (low + high) / 2 - half, (low + high) / 2 + half
    axes.set(xlim=(left, right), ylim=(bottom, top))
