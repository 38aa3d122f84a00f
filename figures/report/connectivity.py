"""Loss along the straight lines between branches, and from each branch to the merged model (appendix B.1, Table 6)."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import FULL_WIDTH, GROUP_COLOURS, LINE, MUTED, axes_at, headed_figure, styled
from training.run_directory import ReportDirectory, read_json

MOST_PATHS = 12
COLUMNS = 4

# Layout in inches.
LEFT = 0.55
RIGHT = 0.15
PANEL_HEIGHT = 1.2
ACROSS = 0.2
BELOW = 0.62
BOTTOM = 0.5

SENTENCE = (
    "From the first model named (left) to the second (right). Dashed: the chord between the ends. A path above its "
    "chord has a barrier; a path below it is where averaging gains. Band: 95 % interval of the distance from the "
    "chord, over items."
)


@styled()
def draw(directory: ReportDirectory) -> Figure:
    """One small panel per path, all on one loss scale; with many branches those with the largest barriers.

    Raises:
        InputError: connectivity was not measured.
    """
    paths = read_json(directory.values("connectivity"))["result"]["paths"]
    shown = sorted(paths, key=lambda path: -path["barrier"]["value"])[:MOST_PATHS] if len(paths) > MOST_PATHS else paths
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    sentence = SENTENCE
    if len(shown) < len(paths):
        sentence += f" The {len(shown)} of {len(paths)} paths with the largest barriers."
    height = BOTTOM + rows * PANEL_HEIGHT + (rows - 1) * BELOW + 0.2
    figure = headed_figure(FULL_WIDTH, height, "Loss on the lines between models", sentence)
    width = (FULL_WIDTH - LEFT - RIGHT - (columns - 1) * ACROSS) / columns
    low, high = _range(shown)
    for number, path in enumerate(shown):
        row, column = divmod(number, columns)
        left = LEFT + column * (width + ACROSS)
        bottom = BOTTOM + (rows - 1 - row) * (PANEL_HEIGHT + BELOW)
        axes = axes_at(figure, left, bottom, width, PANEL_HEIGHT)
        _draw_path(axes, path)
        axes.set(xlim=(0, 1), ylim=(low, high), xticks=(0, 0.5, 1), xticklabels=("0", "½", "1"))
        axes.set_xlabel(f"{path['ends'][0]} → {path['ends'][1]}")
        if column:
            axes.set_yticklabels([])
        else:
            axes.set_ylabel("nats per answer token")
    return figure


def _draw_path(axes: Axes, path: dict[str, Any]) -> None:
    values = np.array(path["losses"])
    alphas = np.linspace(0, 1, len(values))
    chord = (1 - alphas) * values[0] + alphas * values[-1]
    lows, highs = (chord + np.array([excess[key] for excess in path["excess"]]) for key in ("low", "high"))
    axes.fill_between(alphas, lows, highs, color=GROUP_COLOURS[0], alpha=0.25, linewidth=0)
    axes.plot(alphas, chord, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(alphas, values, color=GROUP_COLOURS[0], marker="o", markersize=2.2)
    barrier = path["barrier"]
    title = f"barrier {barrier['value']:.3f} [{barrier['low']:.3f}, {barrier['high']:.3f}]"
    axes.set_title(title, size="medium", color=MUTED, pad=3)
    axes.spines[["top", "right"]].set_color(LINE)


def _range(paths: list[dict[str, Any]]) -> tuple[float, float]:
    losses = [loss for path in paths for loss in path["losses"]]
    margin = 0.1 * (max(losses) - min(losses)) or 0.5
    return min(losses) - margin, max(losses) + margin
