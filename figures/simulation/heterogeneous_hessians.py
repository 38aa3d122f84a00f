"""Gain and merged loss where tasks have Hessians of their own, the drift from joint training, and the stable step."""

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.model_rows import stripe
from figures.simulation.findings import intervals, predicted
from figures.simulation.panels import Row, panels
from figures.simulation.series import Series
from figures.simulation.value_axes import logarithmic, tried
from figures.simulation_result import SimulationResult
from figures.style import GROUP_COLOURS, INK, LINE, MUTED, styled

DASHED = (0.0, (3.0, 2.0))
STARTS: dict[str, Literal["-"] | tuple[float, tuple[float, float]]] = {"the optimum": "-", "a generic start": DASHED}
CORRELATION = "rank correlation of gain and merged loss"
RATIO = "gain of {} over the mean split's"
WORSE = "share of draws where the merge of {} is worse than the mean split's"
THAN_JOINT = "share of draws where the mean split merges worse than joint at {}"
SPLITS = Series("over all splits", INK)
RULES = (Series("PCA of the task matrix M", GROUP_COLOURS[0], "s"), Series("PCA of cosines", GROUP_COLOURS[1], "D"))
BUDGETS = (Series("equal steps", GROUP_COLOURS[5], "^"), Series("equal tokens", GROUP_COLOURS[3], "v"))
GENERIC = Series("dashed: from a generic start", MUTED, "", DASHED)

ERROR = "relative error of theorem C"
PROPORTIONAL = Series("in proportion to η", MUTED, "", (0.0, (1.0, 1.5)))
EDGE = "least stable step of the branches over that of joint training"
EDGES = ("gradient descent", "SGD")


@styled()
def draw(result: SimulationResult) -> Figure:
    """What a larger gain goes with, by start and steps; the error of the predicted drift by rate; the stable steps.

    Raises:
        InputError: the result lacks a finding that is drawn.
    """
    of_rules = {name: predicted(result, name.format(RULES[0].label)) for name in (RATIO, WORSE)}
    of_cosines = {name: predicted(result, name.format(RULES[1].label)) for name in (RATIO, WORSE)}
    than_joint = [f"{budget.label}: {predicted(result, THAN_JOINT.format(budget.label))}" for budget in BUDGETS]
    rows = [
        Row(
            [CORRELATION, "gain of PCA over the mean split's"],
            1.2,
            (SPLITS, *RULES, GENERIC),
            [predicted(result, CORRELATION), f"{of_rules[RATIO]} with M, {of_cosines[RATIO]} with cosines"],
        ),
        Row(
            ["share of draws: PCA's merge worse than the mean split's", "share of draws: mean split worse than joint"],
            1.2,
            (*RULES, *BUDGETS),
            [of_rules[WORSE], "; ".join(than_joint)],
        ),
        Row(
            [ERROR, "least stable step of the branches"],
            1.1,
            (PROPORTIONAL,),
            [predicted(result, ERROR), predicted(result, EDGE)],
            gap=1.2,
        ),
    ]
    figure, ((correlation, ratio), (worse, joint), (error, edge)) = panels(
        "Splits of tasks with unequal Hessians",
        "All balanced splits of every draw. First row: does a larger gain go with a worse merge, and how much gain "
        "does PCA find? Second row: how often merges are worse. Third row: error of theorem C's drift, and whether "
        "branches stand larger steps than joint training. Bands and bars: 95 % intervals over draws.",
        rows,
    )
    for start in STARTS:
        _by_steps(correlation, result, CORRELATION, start, SPLITS)
        for rule in RULES:
            _by_steps(ratio, result, RATIO.format(rule.label), start, rule)
            _by_steps(worse, result, WORSE.format(rule.label), start, rule)
        for budget in BUDGETS:
            _by_steps(joint, result, THAN_JOINT.format(budget.label), start, budget)
    for axes, level in ((correlation, 0.0), (ratio, 1.0), (worse, 0.5), (joint, 0.5)):
        axes.axhline(level, color=LINE, linewidth=0.8, zorder=0)
    for axes in (worse, joint):
        axes.set_ylim(-0.03, 1.03)
    _draw_error(error, result)
    _draw_edge(edge, result)
    return figure


def _by_steps(axes: Axes, result: SimulationResult, name: str, start: str, series: Series) -> None:
    steps = result.arrays["steps"]
    own = Series(series.label, series.colour, series.marker, STARTS[start])
    own.curve(axes, steps, intervals(result, name, [f"from {start}, {tau} steps" for tau in steps]))
    tried(axes, steps)
    axes.set_xlabel("steps τ of a branch")


def _draw_error(axes: Axes, result: SimulationResult) -> None:
    rates = result.arrays["drift_rates"]
    errors = intervals(result, ERROR, [f"η = {rate:g}" for rate in rates])
    PROPORTIONAL.bare(axes, rates, errors.mean[0] * rates / rates[0])
    Series("", GROUP_COLOURS[2]).curve(axes, rates, errors)
    tried(axes, rates)
    logarithmic(axes, "y")
    axes.set_xlabel("learning rate η")
    axes.set_ylabel("relative error")


def _draw_edge(axes: Axes, result: SimulationResult) -> None:
    places = np.arange(len(EDGES))
    Series("", GROUP_COLOURS[2], line="").row(axes, places, intervals(result, EDGE, EDGES))
    axes.axvline(1, color=LINE, linewidth=0.8, zorder=0)
    stripe(axes, len(EDGES))
    axes.set_yticks(places, EDGES)
    axes.set_xlabel("branches over joint training")
