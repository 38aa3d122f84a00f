"""How the gradient of a few calibration examples turns towards the task's own as they become more (Table 11)."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator, StrMethodFormatter

from figures.style import FULL_WIDTH, GROUP_COLOURS, LINE, MUTED, axes_at, headed_figure, styled
from training.run_directory import ReportDirectory, read_json

# Layout in inches.
LEFT = 0.55
BOTTOM = 0.45
WIDTH = 4.4
HEIGHT = 2.5

SENTENCE = (
    "Mean over tasks, with 95 % intervals over tasks. With the other examples: cosine of the gradient of some examples "
    "with that of the rest, whose own noise lowers it. With the task's own: the noise of the rest is taken out. "
    "Hollow: extrapolated from each task's reliability."
)


@styled()
def draw(directory: ReportDirectory) -> Figure:
    """Both cosines over the number of examples.

    Raises:
        MissingInput: calibration was not measured.
    """
    result = read_json(directory.values("calibration"))["result"]
    figure = headed_figure(
        FULL_WIDTH, BOTTOM + HEIGHT + 0.1, "Calibration examples and the gradient's direction", SENTENCE
    )
    axes = axes_at(figure, LEFT, BOTTOM, WIDTH, HEIGHT)
    rows = (
        ("with the other examples", "with_rest", result["curve"], MUTED, "s", True),
        ("with the task's own", "with_signal", result["curve"], GROUP_COLOURS[0], "o", True),
        ("the same, extrapolated", "with_signal", result["expected"], GROUP_COLOURS[0], "o", False),
    )
    for name, key, points, colour, marker, filled in rows:
        known = [point for point in points if point[key] is not None]
        if known:
            sizes = [point["examples"] for point in known]
            values, lows, highs = (np.array([point[key][end] for point in known]) for end in ("value", "low", "high"))
            axes.errorbar(
                sizes,
                values,
                (np.maximum(values - lows, 0), np.maximum(highs - values, 0)),
                color=colour,
                marker=marker,
                markersize=4,
                markerfacecolor=colour if filled else "none",
                linewidth=0.9,
                linestyle="-" if filled else (0, (3, 2)),
                elinewidth=0.7,
                label=name,
            )
    axes.axhline(1, color=LINE, linewidth=0.6, zorder=0)
    sizes = [point["examples"] for point in (*result["curve"], *result["expected"])]
    axes.set_xscale("log")
    axes.set_xticks(_kept(sizes))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(ylim=(min(0.0, axes.get_ylim()[0]), max(1.03, axes.get_ylim()[1])))
    axes.set(xlabel="calibration examples of a task (logarithmic)", ylabel="cosine")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, title="cosine of their gradient", alignment="left"
    )
    return figure


def _kept(sizes: list[float]) -> list[float]:
    """Sizes that are far enough apart for their ticks, from the first on."""
    kept: list[float] = []
    for size in sizes:
        if not kept or size >= 1.35 * kept[-1]:
            kept.append(size)
    return kept
