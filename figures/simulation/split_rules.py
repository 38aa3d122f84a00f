"""Share of the best possible gain that each split rule finds, by ensemble of gradients."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.model_rows import stripe
from figures.simulation.findings import found, intervals, predicted
from figures.simulation.panels import Row, panels
from figures.simulation.series import Series
from figures.simulation_result import SimulationResult
from figures.style import (
    GROUP_COLOURS,
    GROUP_MARKERS,
    INK,
    LINE,
    MARGIN,
    MUTED,
    SMALLEST_SIZE,
    TEXT_SIZE,
    styled,
    text_width,
)

RANDOM = "random splits, share of the optimum"
ALONG = "split along the axis of "
ADDED = "what swaps on the {} matrix add to the cosine split, all cells"
SHARE = "share of the optimum"
WORSE = "worse than the random mean"

# Layout in inches.
ROW = 0.46
SIGN = 0.3


@styled()
def draw(result: SimulationResult) -> Figure:
    """One row per rule, one mark per ensemble: its share of the optimum, and how often it is below the random mean.

    Raises:
        InputError: the result lacks a finding that is drawn.
    """
    rules = [name.removeprefix(ALONG) for name in result.findings if name.startswith(ALONG)]
    ensembles = list(found(result, RANDOM))
    series = [
        Series(name, GROUP_COLOURS[number % len(GROUP_COLOURS)], GROUP_MARKERS[number % len(GROUP_MARKERS)], "")
        for number, name in enumerate(ensembles)
    ]
    labels = ["random split, mean over all", *rules]
    told = ["", *(f"predicted: {predicted(result, ALONG + rule)}" for rule in rules)]
    left = (
        MARGIN
        + 0.12
        + max(
            *(text_width(label, TEXT_SIZE) for label in labels),
            *(text_width(words, SMALLEST_SIZE) for words in told if words),
        )
    )
    swaps = ("cosine", "gram")
    rows = [
        Row([SHARE, "draws below the random mean"], ROW * len(labels), series, left=left, gap=0.25),
        Row(["added by exchanging pairs, all ensembles and sizes"], SIGN * len(swaps), left=left),
    ]
    figure, ((shares, worse), (added,)) = panels(
        f"Gain of each split rule over the best of all splits, {result.arrays['task_numbers'][-1]} tasks",
        "A rule cuts the leading axis of a matrix, centred or not, at its median, and may exchange pairs of tasks on a "
        "matrix afterwards. One is the optimum over all balanced splits. Bars: 95 % intervals over draws.",
        rows,
    )
    offsets = np.linspace(-0.32, 0.32, len(series)) if len(series) > 1 else np.zeros(1)
    for own, ensemble, offset in zip(series, ensembles, offsets, strict=True):
        own.row(shares, [offset], intervals(result, RANDOM, [ensemble]))
        for place, rule in enumerate(rules, start=1):
            own.row(shares, [place + offset], intervals(result, ALONG + rule, [(ensemble, SHARE)]))
            own.row(worse, [place + offset], intervals(result, ALONG + rule, [(ensemble, WORSE)]))
    _name_rows(shares, labels, told)
    _name_rows(worse, [""] * len(labels), [""] * len(labels))
    shares.set_xlim(-0.03, 1.04)
    worse.set_xlim(-0.03, 1.04)
    shares.set_xlabel("gain over the largest gain of all splits")
    worse.set_xlabel("share of draws")
    for place, matrix in enumerate(swaps):
        Series("", INK, "o", "").row(added, [place], intervals(result, ADDED.format(matrix), [()]))
    added.axvline(0, color=LINE, linewidth=0.8, zorder=0)
    _name_rows(
        added,
        [f"cosine split, swap on {matrix}" for matrix in swaps],
        [f"predicted: {predicted(result, ADDED.format(matrix))}" for matrix in swaps],
    )
    added.set_xlabel("difference in the share of the optimum")
    return figure


def _name_rows(axes: Axes, labels: Sequence[str], told: Sequence[str]) -> None:
    """Names of the rows left of them, each above what was predicted of it."""
    stripe(axes, len(labels))
    axes.set_yticks([])
    across = axes.get_yaxis_transform()
    for place, (label, words) in enumerate(zip(labels, told, strict=True)):
        axes.text(-0.02, place - (0.12 if words else 0), label, transform=across, ha="right", va="center")
        axes.text(
            -0.02,
            place + 0.22,
            words,
            transform=across,
            ha="right",
            va="center",
            size=SMALLEST_SIZE,
            color=MUTED,
            style="italic",
        )
