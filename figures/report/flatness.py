"""Rise of the loss under weight noise of growing size (appendix B, Figure 4)."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.model_rows import COLOURS, MARKERS
from figures.style import FULL_WIDTH, LINE, MUTED, axes_at, headed_figure, styled
from training.run_directory import ReportDirectory, read_json

SCALES = {
    "isotropic": "σ, over the root mean square of the start's weights",
    "filter-normalised": "σ, over the norm of each row of a weight matrix",
}
APART = 0.008
"""Between the bars of two models, over the width of a panel."""

# Layout in inches.
LEFT = 0.6
RIGHT = 0.15
GAP = 0.65
BOTTOM = 0.45
HEIGHT = 2.2
ABOVE = 0.25


@styled()
def draw(directory: ReportDirectory) -> Figure:
    """Increase of the loss by σ, one panel per kind of noise, with intervals and the area under each curve.

    Raises:
        InputError: flatness was not measured.
    """
    grids = read_json(directory.values("flatness"))["result"]["grids"]
    sentence = (
        "All models get the same noise and the same items. Bars: 95 % intervals over both; a difference between two "
        "models is known better than the overlap of their bars suggests."
    )
    if any(sum(curve["overflowed"]) for grid in grids for curve in grid["curves"]):
        sentence += " A mark on the upper rim: the loss was infinite or no number there."
    figure = headed_figure(FULL_WIDTH, BOTTOM + HEIGHT + ABOVE, "Loss under weight noise", sentence)
    width = (FULL_WIDTH - LEFT - RIGHT - GAP * (len(grids) - 1)) / max(len(grids), 2)
    for number, grid in enumerate(grids):
        axes = axes_at(figure, LEFT + number * (width + GAP), BOTTOM, width, HEIGHT)
        _draw_curves(axes, grid)
        if number == 0:
            axes.set_ylabel("loss increase, nats per answer token")
    return figure


def _draw_curves(axes: Axes, grid: dict[str, Any]) -> None:
    reach = grid["sigmas"][-1]
    axes.axhline(0, color=LINE, linewidth=0.6)
    for number, curve in enumerate(grid["curves"]):
        colour, marker = COLOURS[curve["model"]], MARKERS[curve["model"]]
        apart = (number - (len(grid["curves"]) - 1) / 2) * APART * reach
        known = [(sigma, own) for sigma, own in zip(grid["sigmas"], curve["increases"], strict=True) if own is not None]
        lost = [sigma for sigma, own in zip(grid["sigmas"], curve["increases"], strict=True) if own is None]
        area = "area unknown" if curve["area"] is None else f"area {curve['area']['value']:.2g}"
        axes.plot(
            [0.0, *(sigma for sigma, _ in known)],
            [0.0, *(own["value"] for _, own in known)],
            color=colour,
            marker=marker,
            markersize=3.2,
            label=f"{curve['model']}, {area}",
            zorder=3 if curve["model"] == "merged" else 2,
        )
        axes.vlines(
            [sigma + apart for sigma, _ in known],
            [own["low"] for _, own in known],
            [own["high"] for _, own in known],
            color=colour,
            linewidth=0.8,
        )
        if lost:
            axes.plot(
                lost,
                [1.0] * len(lost),
                color=colour,
                marker=marker,
                markersize=5,
                linestyle="",
                clip_on=False,
                transform=axes.get_xaxis_transform(),
            )
    axes.set_xlim(0, reach * 1.05)
    axes.set_title(f"{grid['kind']} noise", loc="left", size="medium", color=MUTED)
    axes.set_xlabel(SCALES[grid["kind"]])
    axes.legend(loc="upper left", borderaxespad=0.8)
    axes.spines[["top", "right"]].set_visible(False)
