"""The gain of merging, measured and predicted, and the parabolas that the prediction draws (Theorem 3.1/F.1)."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import FULL_WIDTH, GROUP_COLOURS, INK, LINE, MUTED, axes_at, headed_figure, styled
from training.run_directory import ReportDirectory, read_json

MEASURED, PREDICTED, DIPS = GROUP_COLOURS[:3]
MOST_LINES = 4

# Layout in inches.
LEFT = 2.05
RIGHT = 1.75
ROW = 0.24
AXIS = 0.42
PANEL_LEFT = 0.55
PANEL_HEIGHT = 1.3
PANEL_BOTTOM = 0.5
ACROSS = 0.2

SENTENCE = (
    "Above: mean branch loss minus merged loss, measured, predicted from Hessian products at the merged point and read "
    "off midpoint losses, with the terms it is made of; 95 % intervals over items. Below: loss from the merged model "
    "(0) to a branch (1), and the parabola of the Hessian."
)


@styled()
def draw(directory: ReportDirectory) -> Figure:
    """Gains and their terms with intervals, one per row; below, the line to each branch with its parabola.

    Raises:
        InputError: the gain was not checked.
    """
    result = read_json(directory.values("gain_check"))["result"]
    gains = [("measured", "measured"), ("predicted by the Hessian", "predicted"), ("from midpoint dips", "from_dips")]
    terms = [("second order", "quadratic"), ("third order", "cubic"), ("what remains", "rest")]
    if not result["is_average"]:
        terms.insert(0, ("first order", "linear"))
    lines = result["lines"][:MOST_LINES]
    rows_height = ROW * (len(gains) + len(terms) + 1.5)
    below = PANEL_BOTTOM + PANEL_HEIGHT + 0.25
    sentence = SENTENCE
    if len(lines) < len(result["lines"]):
        sentence += f" The first {len(lines)} of {len(result['lines'])} branches."
    figure = headed_figure(FULL_WIDTH, below + AXIS + rows_height, "Gain: predicted and measured", sentence)
    axes = axes_at(figure, LEFT, below + AXIS, FULL_WIDTH - LEFT - RIGHT, rows_height - 0.08)
    _draw_rows(axes, result, gains, terms)
    width = (FULL_WIDTH - PANEL_LEFT - 0.15 - (len(lines) - 1) * ACROSS) / len(lines)
    panels = [
        axes_at(figure, PANEL_LEFT + number * (width + ACROSS), PANEL_BOTTOM, width, PANEL_HEIGHT)
        for number in range(len(lines))
    ]
    losses = np.array([line["losses"] for line in lines])
    margin = 0.15 * (losses.max() - losses.min()) or 0.5
    for panel, line in zip(panels, lines, strict=True):
        _draw_line(panel, line, np.array(result["stations"]))
        panel.set_ylim(losses.min() - margin, losses.max() + margin)
        if panel is panels[0]:
            panel.set_ylabel("nats per answer token")
        else:
            panel.set_yticklabels([])
    return figure


def _draw_rows(axes: Axes, result: dict[str, Any], gains: list[tuple[str, str]], terms: list[tuple[str, str]]) -> None:
    axes.axvline(0, color=LINE, linewidth=0.8, zorder=0)
    colours = [MEASURED, PREDICTED, DIPS] + [INK] * len(terms)
    positions = [-number - (0.6 if number >= len(gains) else 0.0) for number in range(len(colours))]
    for (_, key), position, colour in zip(gains + terms, positions, colours, strict=True):
        _draw_interval(axes, result[key], position, colour)
    axes.set_yticks(positions, [label for label, _ in gains + terms])
    axes.set_ylim(positions[-1] - 0.7, 0.7)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("nats per answer token")


def _draw_interval(axes: Axes, interval: dict[str, float], position: float, colour: str) -> None:
    axes.plot([interval["low"], interval["high"]], [position, position], color=colour, linewidth=1.6)
    axes.plot(interval["value"], position, color=colour, marker="o", markersize=4)
    axes.annotate(
        f"{interval['value']:+.4f} [{interval['low']:+.4f}, {interval['high']:+.4f}]",
        (1, position),
        xycoords=axes.get_yaxis_transform(),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
    )


def _draw_line(axes: Axes, line: dict[str, Any], stations: np.ndarray) -> None:
    losses = np.array(line["losses"])
    here = losses[list(stations).index(0.0)]
    fine = np.linspace(stations[0], stations[-1], 100)
    parabola = here + line["slope"] * fine + line["curvature"] * fine**2 / 2
    axes.axvline(0, color=LINE, linewidth=0.8, zorder=0)
    axes.plot(fine, parabola, color=PREDICTED)
    axes.plot(stations, losses, color=MEASURED, marker="o", markersize=2.4)
    axes.set(xlim=(stations[0], stations[-1]), xticks=(0, 0.5, 1), xticklabels=("0", "½", "1"))
    axes.set_xlabel(f"merged → {line['branch']}")
    axes.set_title(f"slope {line['slope']:+.3f}, curvature {line['curvature']:+.3f}", size="medium", color=MUTED, pad=3)
    axes.spines[["top", "right"]].set_color(LINE)
