"""Where the time of a run went, and what each arm costs beside other methods."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from figures.cells import duration
from figures.recorded import is_arm, times_of
from figures.run.arm_rows import NAME_SIZE, ROW, ArmRows
from figures.style import (
    FULL_WIDTH,
    GROUP_COLOURS,
    INK,
    MARGIN,
    MUTED,
    PAPER,
    axes_at,
    headed_figure,
    styled,
    text_width,
)
from training.run_directory import RunDirectory

HATCH = "////"
TRAINING, AROUND, STAGE = GROUP_COLOURS[0], GROUP_COLOURS[1], MUTED
BESIDE = "beside them, computed"

# Layout in inches.
BOTTOM = 0.42
ABOVE = 0.25
BETWEEN = 0.5
RIGHT = 0.75


@styled()
def draw(run: RunDirectory) -> Figure:
    """Seconds of each stage, and below them, where ``cost.json`` says, of each method with a machine for each branch.

    Raises:
        MissingInput: the run has not ended.
    """
    stages, told = times_of(run)
    methods = {method_label(method): method for method in told}
    rows = _rows(methods)
    sentence = "Solid: measured in this run."
    if methods:
        sentence += (
            " Hatched: computed; the formulas are in cost.json. Each branch is taken to have a machine of its own: an "
            "arm takes as long as its longest branch, then what only it needs (conflicts, merge, fits). Above ≥, "
            "network and arithmetic on gradients are left out."
        )
    else:
        sentence += " This run has no cost.json, which says what each arm took; runs that end now write it."
    stage_height = ROW * 1.2 * len(stages)
    below = rows.height + BETWEEN + ABOVE if methods else 0
    title = f"Time of the run {run.root.resolve().name}"
    figure = headed_figure(FULL_WIDTH, BOTTOM + below + stage_height + ABOVE, title, sentence)
    left = max(rows.left, MARGIN + max(text_width(stage, NAME_SIZE) for stage in stages) + 0.15)
    stage_axes = axes_at(figure, left, BOTTOM + below, FULL_WIDTH - left - RIGHT, stage_height)
    _draw_stages(stage_axes, stages)
    starts = ", over all its starts" if methods else ""
    stage_axes.set_title(f"each stage of the run{starts}", size="medium", loc="left", color=MUTED)
    if methods:
        rows.write_names(figure, BOTTOM)
        axes = rows.panel(figure, left, BOTTOM, FULL_WIDTH - left - RIGHT, "")
        _draw_methods(axes, rows, methods)
    return figure


def method_label(method: Mapping[str, Any]) -> str:
    """Name of a row of ``cost.json``: methods beside the arms stand there once for each number of machines."""
    if is_arm(method):
        return method["method"]
    return f"{method['method']}, {method['machines']} machines" if method["machines"] > 1 else method["method"]


def _rows(methods: Mapping[str, Mapping[str, Any]]) -> ArmRows:
    arms = [label for label, method in methods.items() if is_arm(method)]
    return ArmRows.of(arms, [label for label in methods if label not in arms], BESIDE)


def _draw_stages(axes: Axes, stages: Mapping[str, float]) -> None:
    for row, seconds in enumerate(stages.values()):
        axes.barh(row, seconds, height=0.7, color=STAGE)
        axes.annotate(
            duration(seconds), (seconds, row), xytext=(4, 0), textcoords="offset points", va="center", size=NAME_SIZE
        )
    axes.set_yticks(range(len(stages)), list(stages), size=NAME_SIZE)
    axes.set_ylim(len(stages) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.set_xlabel("seconds")


def _draw_methods(axes: Axes, rows: ArmRows, methods: Mapping[str, Mapping[str, Any]]) -> None:
    for label, method in methods.items():
        row, training, whole = rows.arms[label], method["training_seconds"], method["seconds_to_model"]
        _bar(axes, row, 0.0, training["value"], TRAINING, training["how"])
        end, text = training["value"], duration(training["value"]) + " and what was not recorded"
        if whole is not None:
            _bar(axes, row, end, whole["value"] - end, AROUND, whole["how"])
            end, text = whole["value"], ("≥ " if whole["at_least"] else "") + duration(whole["value"])
        axes.annotate(
            text, (end, row), xytext=(4, 0), textcoords="offset points", va="center", size=NAME_SIZE, color=INK
        )
    axes.set_xlabel("seconds to the finished model, with a machine for each branch")
    _legend(axes)


def _bar(axes: Axes, row: int, start: float, length: float, colour: str, how: str) -> None:
    if length > 0:
        measured = how == "measured"
        face, hatch = (colour, None) if measured else (PAPER, HATCH)
        axes.barh(row, length, 0.66, start, color=face, edgecolor=colour, hatch=hatch, linewidth=0.6)


def _legend(axes: Axes) -> None:
    kinds: Sequence[tuple[str, str, bool]] = (
        ("training, measured", TRAINING, True),
        ("training, computed", TRAINING, False),
        ("what only this arm needs, computed", AROUND, False),
    )
    handles = [
        Patch(facecolor=colour if solid else PAPER, edgecolor=colour, hatch=None if solid else HATCH, label=label)
        for label, colour, solid in kinds
    ]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, borderpad=0, borderaxespad=0.2)
