"""Loss of every model on the same items, averaged over answer tokens and over tasks."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.model_rows import COLOURS, stripe
from figures.style import (
    FULL_WIDTH,
    LINE,
    MARGIN,
    MUTED,
    TEXT_SIZE,
    axes_at,
    headed_figure,
    styled,
    text_width,
)
from training.run_directory import ReportDirectory, read_json

# Layout in inches.
BOTTOM = 0.42
ABOVE = 0.26
ROW = 0.2
GAP = 0.3
VALUES = 0.45


@styled()
def draw(directory: ReportDirectory) -> Figure:
    """Loss of the start, the branches, their average, the merged model and joint training, with 95 % intervals.

    Once over all answer tokens and once as the mean over tasks; a faint line marks the merged model.
    """
    result = read_json(directory.values("losses"))["result"]
    rows = _models(result)
    names = [name for name, *_ in rows]
    left = MARGIN + max(text_width(name, TEXT_SIZE) for name in names) + 0.12
    width = (FULL_WIDTH - left - GAP - 2 * VALUES) / 2
    height = ROW * len(rows)
    figure = headed_figure(
        FULL_WIDTH,
        BOTTOM + height + ABOVE,
        "Loss of every model on the same items",
        "Bars are 95 % intervals over the choice of test items. All models share the items, so a difference between "
        "two of them is known better than the overlap of their bars suggests.",
    )
    titles = ("over all answer tokens", "mean over tasks")
    for number, title in enumerate(titles):
        panel = axes_at(figure, left + number * (width + VALUES + GAP), BOTTOM, width, height)
        panel.set_title(title, size=TEXT_SIZE, loc="left", color=MUTED)
        _draw_models(panel, [(name, row[number]) for name, *row in rows])
        panel.set_yticks(range(len(names)), names if number == 0 else [""] * len(names))
        panel.set_xlabel("nats per answer token")
    return figure


def _models(result: dict[str, Any]) -> list[tuple[str, dict[str, float], dict[str, float]]]:
    """Name, loss and macro loss of each row from the top, the branches' average below the branches."""
    rows = [(entry["model"], entry["loss"], entry["macro_loss"]) for entry in result["models"]]
    merged = next(number for number, (name, *_) in enumerate(rows) if name == "merged")
    rows.insert(merged, ("branch average", result["branch_average"], result["macro_branch_average"]))
    return rows


def _draw_models(panel: Axes, rows: Sequence[tuple[str, dict[str, float]]]) -> None:
    merged = dict(rows)["merged"]["value"]
    panel.axvline(merged, color=LINE, linewidth=0.6, linestyle=(0, (3, 2)), zorder=0)
    for number, (name, interval) in enumerate(rows):
        colour = COLOURS.get(name, MUTED)
        panel.plot([interval["low"], interval["high"]], [number, number], color=colour, linewidth=1.4)
        panel.plot(interval["value"], number, marker="o", markersize=4, color=colour)
        panel.text(
            1.03,
            number,
            f"{interval['value']:.3f}",
            transform=panel.get_yaxis_transform(),
            va="center",
            weight="bold" if name == "merged" else "normal",
        )
    stripe(panel, len(rows))
