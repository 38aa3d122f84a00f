"""Conflict directions between chance and the sharp directions of the loss (F.3, with nulls that can fail)."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import FAINT, FULL_WIDTH, GROUP_COLOURS, INK, LINE, MUTED, axes_at, headed_figure, styled
from training.run_directory import ReportDirectory, read_json

# Layout in inches.
LEFT = 1.35
BOTTOM = 0.42
TOP = 0.25
ROW = 0.22
RANKS = 0.45
GAP = 0.15

BAND_WIDTH = 7
SENTENCE = (
    "Cosine with the space that the sharpest eigenvectors of the start's Hessian span. Dots: measured, with either "
    "half of the examples as small ticks, and single tasks in grey. Broad bars: central 95 % of random combinations of "
    "the same gradients, with their median; a dot inside its bar is no closer than chance. Rank: share of those "
    "combinations below the dot."
)
TITLES = {"chosen": "all chosen parameters", "without-norms": "without one-dimensional ones"}


@styled()
def draw(directory: ReportDirectory) -> Figure:
    """One panel for each set of parameters; rows are the three tiers, directions beside their null.

    Raises:
        InputError: alignment was not measured.
    """
    sets = read_json(directory.values("alignment"))["result"]["sets"]
    rows = 2 + max(sum(len(axes["directions"]) for axes in found["axes"]) for found in sets)
    height = BOTTOM + ROW * (rows + 1) + TOP
    figure = headed_figure(FULL_WIDTH, height, "Conflict axes against sharp directions", SENTENCE)
    width = (FULL_WIDTH - LEFT - len(sets) * RANKS - (len(sets) - 1) * GAP) / len(sets)
    reach = 1.05 * max(value for found in sets for value in _values(found))
    for number, found in enumerate(sets):
        panel = axes_at(figure, LEFT + number * (width + RANKS + GAP), BOTTOM, width, ROW * (rows + 1))
        labels = _draw_set(panel, found)
        panel.set_yticks([-row for row in range(len(labels))], labels if number == 0 else [""] * len(labels))
        panel.set(xlim=(0, reach), ylim=(0.5 - rows, 0.7))
        panel.set_xlabel("cosine with the sharp space")
        panel.set_title(TITLES[found["name"]], size="medium", color=INK, loc="left")
        panel.tick_params(axis="y", length=0)
        panel.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _values(found: dict[str, Any]) -> list[float]:
    statistics = [direction["eigenspace"] for axes in found["axes"] for direction in axes["directions"]]
    own = [value for entry in statistics for value in (entry["value"], entry["span"]["high"], *entry["halves"])]
    return [*own, *found["task_cosines"]]


def _draw_set(panel: Axes, found: dict[str, Any]) -> list[str]:
    """Draw one set from the top row down and return the rows' names."""
    random, tasks = found["random_vector"], found["task_gradient"]
    panel.plot(random["mean"], 0, color=INK, marker="o", markersize=3.5, clip_on=False)
    panel.annotate(
        f"{random['mean']:.2g} ± {random['deviation']:.1g}",
        (random["mean"], 0),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
    )
    single = found["task_cosines"]
    panel.plot(single, [-1] * len(single), color=LINE, marker="o", markersize=2.5, linestyle="")
    panel.plot(tasks["mean"], -1, color=INK, marker="o", markersize=3.5)
    labels = ["random vector", "single task gradient"]
    for colour, axes in zip(GROUP_COLOURS, found["axes"], strict=False):
        for number, direction in enumerate(axes["directions"], start=1):
            _draw_direction(panel, len(labels), direction["eigenspace"], colour)
            labels.append(f"{axes['name']} {number}")
    panel.annotate(
        "rank",
        (1, -1),
        xycoords=panel.get_yaxis_transform(),
        xytext=(6, 0),
        textcoords="offset points",
        color=MUTED,
        va="center",
    )
    return labels


def _draw_direction(panel: Axes, row: int, statistic: dict[str, Any], colour: str) -> None:
    span = statistic["span"]
    panel.plot([span["low"], span["high"]], [-row, -row], color=FAINT, linewidth=BAND_WIDTH, solid_capstyle="butt")
    panel.plot(span["median"], -row, color=LINE, marker="|", markersize=BAND_WIDTH, markeredgewidth=1, linestyle="")
    panel.plot(statistic["halves"], [-row, -row], color=colour, marker="|", markersize=4, linestyle="", linewidth=0.8)
    panel.plot(statistic["value"], -row, color=colour, marker="o", markersize=4)
    _write(panel, row, f"{span['rank']:.2f}")


def _write(panel: Axes, row: int, text: str) -> None:
    panel.annotate(
        text, (1, -row), xycoords=panel.get_yaxis_transform(), xytext=(6, 0), textcoords="offset points", va="center"
    )
