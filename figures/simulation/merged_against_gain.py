"""Merged loss against gain over all splits, from one shared Hessian to a Hessian of each task's own."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.simulation.findings import found, intervals, predicted
from figures.simulation.panels import Row, panels
from figures.simulation.series import Series
from figures.simulation.value_axes import tried
from figures.simulation_result import SimulationResult
from figures.style import GROUP_COLOURS, GROUP_MARKERS, INK, LINE, styled
from training.errors import MissingInput

FEW = 4
"""Mixtures whose splits are drawn as points."""

ROUNDING = 1e-9
"""Losses below this, in units of the branches' loss, are zero as far as the eye is concerned."""

STARTS = ("the optimum", "a generic start")
CORRELATION = "rank correlation of gain and merged loss over all splits"
WORSE = "share of mixtures in which the split of largest gain merges worse than the mean split"
SHARED = "shared Hessian: largest difference of merged losses between splits, over the branch loss"
HUES = (GROUP_COLOURS[4], GROUP_COLOURS[0], GROUP_COLOURS[3], GROUP_COLOURS[1], GROUP_COLOURS[2], GROUP_COLOURS[5])


@styled()
def draw(result: SimulationResult) -> Figure:
    """Points for the splits of a few mixtures, one panel per heterogeneity, and rank correlations over all of them.

    Raises:
        MissingInput: all tasks of the experiment shared one Hessian.
        InputError: the result lacks a finding that is drawn.
    """
    levels = result.arrays["heterogeneity"]
    unequal = [level for level in levels if level > 0]
    if not unequal:
        raise MissingInput(
            "every heterogeneity tried is zero, so merged losses do not differ between splits; run "
            f"python -m simulations {result.name} with its own configuration"
        )
    curves = [
        Series(f"heterogeneity {level:g}", HUES[number % len(HUES)], GROUP_MARKERS[number])
        for number, level in enumerate(unequal)
    ]
    shown = min(FEW, len(result.arrays["gain"][0, 0, 0]))
    told = predicted(result, SHARED) if SHARED in result.findings else ""
    steps = result.arrays["steps"]
    rows = [
        Row(
            ["shared Hessian" if level == 0 else f"heterogeneity {level:g}" for level in levels],
            1.3,
            [
                Series(f"mixture {number + 1}", (INK, *HUES)[number], GROUP_MARKERS[number], "")
                for number in range(shown)
            ],
            [f"{told} between splits" if level == 0 else "" for level in levels],
            gap=0.42,
        ),
        Row([f"gain and merged loss, from {start}" for start in STARTS], 1.3, curves, [predicted(result, CORRELATION)]),
        Row(
            [f"largest gain worse than the mean split, from {start}" for start in STARTS],
            1.3,
            (),
            [predicted(result, WORSE)],
        ),
    ]
    figure, (points, correlations, shares) = panels(
        "Merged loss against gain, over all balanced splits",
        f"Top: all splits of {shown} mixtures, from the optimum, after {steps[-1]} steps; both axes in units of a "
        "mixture's mean branch loss. Middle: rank correlation of gain and merged loss over splits; above zero, a "
        "larger gain goes with a worse merge. Bottom: how often the split of largest gain merges worse than the mean "
        "split. Bands: 95 % intervals over mixtures.",
        rows,
    )
    for number, axes in enumerate(points):
        _draw_points(axes, result, number, rows[0].series)
    points[0].set_ylabel("merged loss")
    for start, left, right in zip(STARTS, correlations, shares, strict=True):
        for name, axes in ((CORRELATION, left), (WORSE, right)):
            for level, series in zip(unequal, curves, strict=True):
                cell = f"from {start}, heterogeneity {level:g}"
                series.curve(axes, steps, intervals(result, name, [(cell, key) for key in found(result, name)[cell]]))
            tried(axes, steps)
            axes.set_xlabel("steps τ of a branch")
        left.axhline(0, color=LINE, linewidth=0.8, zorder=0)
        left.set_ylim(top=1)
        right.axhline(0.5, color=LINE, linewidth=0.8, zorder=0)
        right.set_ylim(-0.03, 1.03)
    correlations[0].set_ylabel("rank correlation")
    shares[0].set_ylabel("share of mixtures")
    return figure


def _draw_points(axes: Axes, result: SimulationResult, level: int, mixtures: Sequence[Series]) -> None:
    """Every split of some mixtures, from the optimum, after the longest training."""
    highest = 0.0
    for number, series in enumerate(mixtures):
        unit = result.arrays["branch_loss"][level, 0, -1, number].mean()
        gain, merged = (result.arrays[name][level, 0, -1, number] / unit for name in ("gain", "merged_loss"))
        merged = np.where(np.abs(merged) < ROUNDING, 0.0, merged)
        highest = max(highest, merged.max())
        axes.scatter(
            gain, merged, s=5, color=series.colour, marker=series.marker, linewidths=0, alpha=0.8, rasterized=True
        )
    axes.set_xlim(left=0)
    axes.set_ylim(*((-0.05 * highest, 1.08 * highest) if highest else (-0.05, 1)))
    axes.set_xlabel("gain")
