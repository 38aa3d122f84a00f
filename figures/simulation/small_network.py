"""Gain, merged loss and joint training in a small network, over the steps, on training and on held-out data."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.model_rows import COLOURS, stripe
from figures.simulation.findings import found, intervals, predicted
from figures.simulation.panels import Row, panels
from figures.simulation.series import Series
from figures.simulation.value_axes import tried
from figures.simulation_result import SimulationResult
from figures.style import GROUP_COLOURS, INK, LINE, MARGIN, TEXT_SIZE, styled, text_width

OPTIMISERS = ("gradient descent", "Adam")
DATA = (Series("training", GROUP_COLOURS[0], "o"), Series("held-out", GROUP_COLOURS[1], "s"))
CORRELATION = "rank correlation of gain and merged loss, {}"
WORSE = "share of seeds where the PCA split merges worse than the mean split, {}"
LESS = "PCA split's merged loss less {}, {}"
AGAINST = (
    Series("the mean split's", GROUP_COLOURS[2], "o"),
    Series("joint at half the steps", GROUP_COLOURS[3], "^"),
    Series("joint at equal steps", COLOURS["joint-equal-steps"], "d"),
    Series("joint at equal tokens", COLOURS["joint"], "D"),
)
LOWEST = "lowest held-out loss along the way, {}"
DIFFERENCE = "PCA split, merged, less joint"


@styled()
def draw(result: SimulationResult) -> Figure:
    """Rank correlations and shares above, differences of losses between, the lowest held-out losses below.

    Raises:
        InputError: the result lacks a finding that is drawn.
    """
    first = [f"{data.label}: {predicted(result, CORRELATION.format(data.label))}" for data in DATA]
    second = [f"{data.label}: {predicted(result, WORSE.format(data.label))}" for data in DATA]
    names = [name for name in found(result, LOWEST.format(OPTIMISERS[0])) if name != DIFFERENCE]
    rows = [
        Row(
            [f"rank correlation of gain and merged loss, {optimiser}" for optimiser in OPTIMISERS],
            1.0,
            DATA,
            ["; ".join(first)],
        ),
        Row(
            [f"PCA split worse than the mean split, {optimiser}" for optimiser in OPTIMISERS],
            0.95,
            (),
            ["; ".join(second)],
        ),
        *(
            Row(
                [f"PCA's merged loss less others, {data.label}, {optimiser}" for optimiser in OPTIMISERS],
                1.0,
                AGAINST if data is DATA[0] else (),
                [_told(result, data)],
            )
            for data in DATA
        ),
        Row(
            [f"lowest held-out loss, {optimiser}" for optimiser in OPTIMISERS],
            0.17 * len(names),
            (),
            [predicted(result, LOWEST.format(optimiser)) for optimiser in OPTIMISERS],
            left=MARGIN + max(text_width(name, TEXT_SIZE) for name in names) + 0.12,
            gap=0.3,
        ),
    ]
    figure, (correlations, shares, *differences, lowest) = panels(
        "Outside the quadratic model: a small network",
        "All balanced splits of eight regression tasks. Rank correlation above zero: a larger gain goes with a worse "
        "merge. Differences above zero: the merge of the PCA split has the higher loss. The lowest losses are along "
        "the way, for joint training also at half the steps. Bands and bars: 95 % intervals over seeds.",
        rows,
    )
    for number, optimiser in enumerate(OPTIMISERS):
        for data in DATA:
            _by_steps(correlations[number], result, CORRELATION.format(data.label), optimiser, data)
            _by_steps(shares[number], result, WORSE.format(data.label), optimiser, data)
        for data, row in zip(DATA, differences, strict=True):
            for other in AGAINST:
                _by_steps(row[number], result, LESS.format(other.label, data.label), optimiser, other)
            row[number].axhline(0, color=LINE, linewidth=0.8, zorder=0)
        correlations[number].axhline(0, color=LINE, linewidth=0.8, zorder=0)
        shares[number].axhline(0.5, color=LINE, linewidth=0.8, zorder=0)
        shares[number].set_ylim(-0.03, 1.03)
        _draw_lowest(lowest[number], result, optimiser, names)
    for row in (correlations, *differences):
        low, high = min(axes.get_ylim()[0] for axes in row), max(axes.get_ylim()[1] for axes in row)
        for axes in row:
            axes.set_ylim(low, high)
    correlations[0].set_ylabel("rank correlation")
    shares[0].set_ylabel("share of seeds")
    for row in differences:
        row[0].set_ylabel("difference of losses")
    lowest[1].set_yticklabels([""] * len(names))
    return figure


def _told(result: SimulationResult, data: Series) -> str:
    """What was predicted of each difference, those of the same fate together."""
    fates: dict[str, list[str]] = {}
    for other in AGAINST:
        fates.setdefault(predicted(result, LESS.format(other.label, data.label)), []).append(other.label)
    return "; ".join(f"{', '.join(alike)}: {fate}" for fate, alike in fates.items())


def _by_steps(axes: Axes, result: SimulationResult, name: str, optimiser: str, series: Series) -> None:
    steps = result.arrays["snapshots"]
    series.curve(axes, steps, intervals(result, name, [f"{optimiser}, {tau} steps" for tau in steps]))
    tried(axes, steps)
    axes.set_xlabel("steps τ of a branch")


def _draw_lowest(axes: Axes, result: SimulationResult, optimiser: str, names: list[str]) -> None:
    places = np.arange(len(names))
    Series("", INK, line="").row(axes, places, intervals(result, LOWEST.format(optimiser), names))
    stripe(axes, len(names))
    axes.set_yticks(places, names)
    axes.set_xlabel("held-out loss, half the mean squared error")
