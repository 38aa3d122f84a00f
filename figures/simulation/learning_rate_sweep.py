"""Loss over learning rates of joint training and of merges, up to and beyond the edge of stability."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.model_rows import COLOURS, stripe
from figures.simulation.findings import found, intervals, predicted
from figures.simulation.intervals import mean_intervals
from figures.simulation.panels import Row, panels
from figures.simulation.series import Series
from figures.simulation.value_axes import logarithmic, tried
from figures.simulation_result import SimulationResult
from figures.style import GROUP_COLOURS, INK, LINE, MARGIN, MUTED, TEXT_SIZE, styled, text_width

SAMPLING = ("with replacement", "reshuffled")
EDGE = 2.0
DASHED = (0.0, (3.0, 2.0))
SHOWN = {
    "joint 1 epoch": Series("joint 1 epoch", COLOURS["joint"], "D"),
    "joint 2 epochs": Series("joint 2 epochs", COLOURS["joint-equal-steps"], "d"),
    "PCA of cosines, 2 groups": Series("PCA, 2 groups", GROUP_COLOURS[4], "o"),
    "PCA of cosines, 4 groups": Series("PCA, 4 groups", GROUP_COLOURS[0], "s"),
    "PCA of cosines, 8 groups": Series("PCA, 8 groups", GROUP_COLOURS[3], "^"),
    "random, 2 groups": Series("random, 2 groups", GROUP_COLOURS[4], "", DASHED),
    "random, 4 groups": Series("random, 4 groups", GROUP_COLOURS[0], "", DASHED),
    "random, 8 groups": Series("random, 8 groups", GROUP_COLOURS[3], "", DASHED),
}
TUNED = (Series(SAMPLING[0], INK, "o", ""), Series(SAMPLING[1], GROUP_COLOURS[2], "s", ""))
LEFT_OVER = "what reshuffling leaves of the advantage of 2 PCA groups over random ones"
PREDICTED = Series("predicted", MUTED, "", DASHED)


@styled()
def draw(result: SimulationResult) -> Figure:
    """Curves over η, the loss of every arm at its best rate, and what reshuffled passes leave of a split's advantage.

    Raises:
        InputError: the result lacks a finding that is drawn.
    """
    arms = [str(arm) for arm in result.arrays["arms"]]
    labels = MARGIN + max(text_width(arm, TEXT_SIZE) for arm in arms) + 0.12
    rows = [
        Row([f"loss, {how}" for how in SAMPLING], 2.1, tuple(SHOWN.values())),
        Row(
            ["loss at the best rate", "best rate η (median)"],
            0.15 * len(arms),
            TUNED,
            [str(predicted(result, "tuned loss")), str(predicted(result, "best rate (median over mixtures)"))],
            left=labels,
            gap=0.25,
        ),
        Row(
            ["left of PCA's advantage when reshuffled", "loss over joint 1 epoch, each at its best rate"],
            1.2,
            (PREDICTED,),
            ["numbers, dashed", "no theorem with own Hessians; below 1 (.84) for the best PCA merge with one Hessian"],
            gap=1.9,
        ),
    ]
    figure, ((drawn, reshuffled), (tuned, best), (left_over, own)) = panels(
        "Joint training and merges over learning rates",
        "Quadratic tasks, SGD; at matched tokens each of K branches takes 1/K of the steps. Losses are above the "
        "minimum. Bands and bars: 95 % intervals over mixtures. Dotted: the edge of stability, beyond which curves "
        "leave the panel.",
        rows,
    )
    for number, axes in enumerate((drawn, reshuffled)):
        _draw_curves(axes, result, number)
    _draw_tuned(tuned, best, result, arms)
    _draw_left_over(left_over, result)
    _draw_ratios(own, result)
    return figure


def _losses(result: SimulationResult, arm: str, sampling: int) -> NDArray[np.float64]:
    """Losses of an arm, float64 [rates, instances]."""
    return result.arrays["loss"][sampling, result.arrays["arms"].tolist().index(arm)]


def _draw_curves(axes: Axes, result: SimulationResult, sampling: int) -> None:
    rates = result.arrays["rates"]
    for arm, series in SHOWN.items():
        series.curve(axes, rates, mean_intervals(_losses(result, arm, sampling)))
    stable = np.array([_losses(result, arm, sampling).mean(axis=1)[rates < EDGE] for arm in SHOWN])
    logarithmic(axes, "x")
    logarithmic(axes, "y")
    axes.axvline(EDGE, color=LINE, linewidth=0.9, linestyle=":", zorder=0)
    axes.set_ylim(stable.min() / 1.6, stable.max() * 2)
    axes.set_xlabel("learning rate η")
    axes.set_ylabel("loss above the minimum")


def _draw_tuned(tuned: Axes, best: Axes, result: SimulationResult, arms: list[str]) -> None:
    places = np.arange(len(arms))
    rates = found(result, "best rate (median over mixtures)")
    for number, series in enumerate(TUNED):
        heights = places + 0.32 * (number - 0.5)
        series.row(tuned, heights, intervals(result, "tuned loss", [(SAMPLING[number], arm) for arm in arms]))
        series.bare(best, [rates[SAMPLING[number]][arm] for arm in arms], heights)
    tuned.set_xlabel("loss above the minimum")
    best.set_xlabel("learning rate η")
    for axes in (tuned, best):
        logarithmic(axes, "x")
        stripe(axes, len(arms))
        axes.set_yticks(places, arms if axes is tuned else [""] * len(arms))


def _draw_left_over(axes: Axes, result: SimulationResult) -> None:
    told = predicted(result, LEFT_OVER)
    rates = [float(key.removeprefix("η = ")) for key in told]
    PREDICTED.bare(axes, rates, list(told.values()))
    Series("found", GROUP_COLOURS[0]).curve(axes, rates, intervals(result, LEFT_OVER, told))
    tried(axes, rates)
    axes.set_xlabel("learning rate η")
    axes.set_ylabel("share left")


def _draw_ratios(axes: Axes, result: SimulationResult) -> None:
    shared = "tuned loss of the best PCA merge over that of joint 1 epoch"
    own = "own Hessians, reshuffled, sampled: tuned loss over that of joint 1 epoch"
    names = [*(f"best PCA, {how}" for how in SAMPLING), *(f"own Hessians, {arm}" for arm in found(result, own))]
    Series("", INK, "o", "").row(axes, range(2), intervals(result, shared, SAMPLING))
    Series("", GROUP_COLOURS[0], "s", "").row(axes, range(2, len(names)), intervals(result, own, found(result, own)))
    axes.axvline(1, color=LINE, linewidth=0.8, zorder=0)
    stripe(axes, len(names))
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("ratio; below 1 the merge is better")
