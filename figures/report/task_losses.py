"""Loss within each task, and how far the merged model is from its branches and from joint training there."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.model_rows import COLOURS, MARKERS, stripe
from figures.names import shortened
from figures.style import (
    FULL_WIDTH,
    INK,
    MARGIN,
    MUTED,
    SMALLEST_SIZE,
    TEXT_SIZE,
    axes_at,
    headed_figure,
    styled,
    text_width,
)
from training.run_directory import ReportDirectory, read_json

LONGEST_NAME = 24
MANY_TASKS = 40

# Layout in inches.
BOTTOM = 0.42
ABOVE = 0.26
ROW = 0.2
ROW_OF_THREE = 0.26
GAP = 0.3


@styled()
def draw(directory: ReportDirectory) -> Figure:
    """Loss of the merged model in each task beside the start, the branches' average and joint training.

    The right panel holds the differences that are paired: the merged model's loss minus that of the branches' average
    and of joint training, with 95 % intervals.
    """
    result = read_json(directory.values("losses"))["result"]
    names = [shortened(name, LONGEST_NAME) for name in result["tasks"]]
    levels = {entry["model"]: entry["tasks"] for entry in result["models"]}
    shown = {"start": levels["start"], "branch average": result["branch_average_tasks"], "merged": levels["merged"]}
    differences = {"branch average": [_opposite(gain) for gain in result["task_gains"]]}
    for reference in ("joint", "joint-equal-steps"):
        if reference in levels:
            shown[reference] = levels[reference]
            differences[reference] = result["task_merged_minus"][reference]

    size = TEXT_SIZE if len(names) <= MANY_TASKS else SMALLEST_SIZE
    row = (ROW if len(differences) < 3 else ROW_OF_THREE) * size / TEXT_SIZE
    left = MARGIN + max(text_width(name, size) for name in names) + 0.12
    width = (FULL_WIDTH - left - GAP - MARGIN) / 2
    height = row * len(names)
    figure = headed_figure(
        FULL_WIDTH,
        BOTTOM + height + ABOVE,
        "Loss task by task",
        "Right: the merged model's loss minus another's on the same items, with 95 % intervals; left of zero the "
        "merged model is better. Few items of a single task make wide intervals.",
    )
    left_panel = axes_at(figure, left, BOTTOM, width, height)
    right_panel = axes_at(figure, left + width + GAP, BOTTOM, width, height)
    for name, values in shown.items():
        left_panel.plot(
            values,
            range(len(names)),
            linestyle="",
            marker=MARKERS[name],
            markersize=7 if name == "start" else 4,
            color=COLOURS.get(name, MUTED),
            label=name,
            zorder=3 if name == "merged" else 2,
        )
    _draw_differences(right_panel, differences)
    for panel, labels in ((left_panel, names), (right_panel, [""] * len(names))):
        stripe(panel, len(names))
        panel.set_yticks(range(len(names)), labels, size=size)
    left_panel.set_xlabel("nats per answer token")
    right_panel.set_xlabel("merged minus …, nats per answer token")
    left_panel.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.4,
        ncols=len(shown),
        columnspacing=1.0,
        handlelength=1.4,
        handletextpad=0.1,
    )
    return figure


def _draw_differences(panel: Axes, differences: dict[str, list[dict[str, float]]]) -> None:
    panel.axvline(0, color=INK, linewidth=0.6, zorder=0.5)
    offsets = np.linspace(-0.25, 0.25, len(differences)) if len(differences) > 1 else [0.0]
    for offset, (name, intervals) in zip(offsets, differences.items(), strict=True):
        rows = np.arange(len(intervals)) + offset
        low, value, high = (np.array([entry[key] for entry in intervals]) for key in ("low", "value", "high"))
        panel.hlines(rows, low, high, color=COLOURS[name], linewidth=1.0)
        panel.plot(value, rows, linestyle="", marker=MARKERS[name], markersize=3, color=COLOURS[name])


def _opposite(interval: dict[str, float]) -> dict[str, float]:
    return {"value": -interval["value"], "low": -interval["high"], "high": -interval["low"]}
