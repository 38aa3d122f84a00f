"""Loss of every arm by learning rate (Table 18)."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from figures.names import shortened
from figures.study.rates import Sweep, sweeps
from figures.style import FULL_WIDTH, GROUP_COLOURS, GROUP_MARKERS, MUTED, axes_at, headed_figure, styled
from training.run_directory import RunDirectory

LONGEST_NAME = 28
APART = 0.012
"""Between the points of two arms at one rate, over the width of a panel."""
SENTENCE = (
    "Loss on held-out questions, mean over tasks, with 95 % intervals over the test items of one seed. All arms of a "
    "rate share the items, so a difference between two is known better than the overlap of their bars suggests. Points "
    "of one rate stand side by side."
)

# Layout in inches.
LEFT = 0.6
BOTTOM = 0.45
WIDTH = 4.6
HEIGHT = 2.6
BETWEEN = 0.75


@styled()
def draw(runs: Sequence[RunDirectory]) -> Figure:
    """A line for each arm over the rates; a panel for each set of runs that differ in their rate alone.

    Raises:
        MissingInput: no two runs differ in their learning rate alone.
    """
    found = sweeps(runs)
    heights = [max(HEIGHT, 0.165 * len(sweep.losses) + 0.2) for sweep in found]
    body = BOTTOM + sum(heights) + BETWEEN * (len(found) - 1) + 0.25
    figure = headed_figure(FULL_WIDTH, body, "Loss by learning rate", SENTENCE)
    bottom = body - 0.25
    for sweep, height in zip(found, heights, strict=True):
        bottom -= height
        axes = axes_at(figure, LEFT, bottom, WIDTH, height)
        _draw_sweep(axes, sweep)
        if len(found) > 1:
            names = ", ".join(shortened(run.root.resolve().name, LONGEST_NAME) for run in sweep.runs[:3])
            axes.set_title(f"runs {names}{' …' if len(sweep.runs) > 3 else ''}", size="medium", loc="left", color=MUTED)
        bottom -= BETWEEN
    return figure


def _draw_sweep(axes: Axes, sweep: Sweep) -> None:
    span = sweep.rates[-1] / sweep.rates[0]
    for number, (arm, losses) in enumerate(sweep.losses.items()):
        colour, marker = GROUP_COLOURS[number % len(GROUP_COLOURS)], GROUP_MARKERS[number % len(GROUP_MARKERS)]
        apart = span ** (APART * (number - (len(sweep.losses) - 1) / 2))
        places = [rate * apart for rate in losses]
        values, low, high = ([loss[end] for loss in losses.values()] for end in ("value", "low", "high"))
        axes.plot(places, values, color=colour, marker=marker, markersize=3.6, label=shortened(arm, LONGEST_NAME))
        axes.vlines(places, low, high, color=colour, linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks(sweep.rates, [f"{rate:g}" for rate in sweep.rates])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)
    axes.set_xlabel(f"learning rate of {sweep.optimizer}")
    axes.set_ylabel("loss, nats per answer token")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
