"""The gain of merging three ways, and the order by order sum that joins theory and model (Theorem 3.1/F.1)."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import FULL_WIDTH, GROUP_COLOURS, INK, LINE, axes_at, headed_figure, styled
from training.run_directory import ReportDirectory, read_json

# Layout in inches.
LEFT = 2.05
BOTTOM = 0.42
ROW = 0.24
RIGHT = 1.75

SENTENCE = (
    "Mean branch loss minus merged loss, with 95 % intervals over items. Above: measured on the models, predicted from "
    "Hessian products at the merged point, and read off midpoint losses. Below: what each order contributes."
)


@styled()
def draw(directory: ReportDirectory) -> Figure:
    """Values with intervals, one per row: three gains, then the terms of the measured one.

    Raises:
        InputError: the gain was not checked.
    """
    result = read_json(directory.values("gain_check"))["result"]
    gains = [("measured", "measured"), ("predicted by the Hessian", "predicted"), ("from midpoint dips", "from_dips")]
    terms = [("second order", "quadratic"), ("third order", "cubic"), ("fourth order and above", "higher")]
    if not result["is_average"]:
        terms.insert(0, ("first order", "linear"))
    rows = [*gains, *terms]
    height = BOTTOM + ROW * (len(rows) + 1.5)
    figure = headed_figure(FULL_WIDTH, height, "Gain: predicted and measured", SENTENCE)
    axes = axes_at(figure, LEFT, BOTTOM, FULL_WIDTH - LEFT - RIGHT, height - BOTTOM - 0.08)
    axes.axvline(0, color=LINE, linewidth=0.8, zorder=0)
    for number, (_, key) in enumerate(rows):
        position = -number - (0.6 if number >= len(gains) else 0.0)
        _draw_row(axes, result[key], position, GROUP_COLOURS[number] if number < len(gains) else INK)
    positions = [-number - (0.6 if number >= len(gains) else 0.0) for number in range(len(rows))]
    axes.set_yticks(positions, [label for label, _ in rows])
    axes.set_ylim(positions[-1] - 0.7, 0.7)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("nats per answer token")
    return figure


def _draw_row(axes: Axes, interval: dict[str, Any], position: float, colour: str) -> None:
    axes.plot([interval["low"], interval["high"]], [position, position], color=colour, linewidth=1.6)
    axes.plot(interval["value"], position, color=colour, marker="o", markersize=4)
    text = f"{interval['value']:+.4f} [{interval['low']:+.4f}, {interval['high']:+.4f}]"
    axes.annotate(
        text, (1, position), xycoords=axes.get_yaxis_transform(), xytext=(6, 0), textcoords="offset points", va="center"
    )
