"""Bias of token-weighted and of uniform merges of groups of unequal size, over the way trained."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from figures.model_rows import stripe
from figures.simulation.findings import found, intervals, predicted
from figures.simulation.panels import Row, panels
from figures.simulation.series import Series
from figures.simulation.value_axes import tried
from figures.simulation_result import SimulationResult
from figures.style import GROUP_COLOURS, INK, LINE, MUTED, styled

DASHED = (0.0, (3.0, 2.0))
CUTS = ("tokens", "count", "sign")
PROPORTIONAL = "steps in proportion to tokens"
MERGES = (
    Series("token-weighted", GROUP_COLOURS[0], "o"),
    Series("uniform", GROUP_COLOURS[1], "s"),
)
EQUAL_STEPS = Series("uniform, equal steps", GROUP_COLOURS[1], "", DASHED)
PREDICTED = Series("predicted", INK, "x", "")
LESS_BIASED = Series("token weights less biased from here on, median", MUTED, "", ":")
INSTANCE = "error in the instance (3, -1, -1, -1)"
CROSSING = "median over draws of the smallest ητλ tried at which token weights are less biased"
BIAS = "bias over branch length, {}, {}, cut by {}"
LOSS = "merged loss less joint at equal steps, over the start's, steps in proportion to tokens, {}, cut by {}"
LARGER = "tokens of the larger group over all"
EXACT = "token-weighted, equal steps, largest bias"


@styled()
def draw(result: SimulationResult) -> Figure:
    """Bias and merged loss by ητλ, one panel per cut, and the error in one instance beside its predictions.

    Raises:
        InputError: the result lacks a finding that is drawn.
    """
    crossings = found(result, CROSSING)
    rows = [
        Row(
            [f"bias, cut by {cut}" for cut in CUTS],
            1.3,
            (*MERGES, EQUAL_STEPS, LESS_BIASED),
            [
                "; ".join(
                    [
                        *(
                            f"{merge.label}: {predicted(result, BIAS.format(PROPORTIONAL, merge.label, cut))}"
                            for merge in MERGES
                        ),
                        f"at equal steps: {predicted(result, BIAS.format('equal steps', 'uniform', cut))}",
                    ]
                )
                for cut in CUTS
            ],
            gap=0.42,
        ),
        Row(
            [f"merged less joint, cut by {cut}" for cut in CUTS],
            1.15,
            (),
            [predicted(result, LOSS.format(MERGES[0].label, cut)) for cut in CUTS],
            gap=0.42,
        ),
        Row(
            ["error in the instance (3, −1, −1, −1)", LARGER],
            1.15,
            (*MERGES, PREDICTED),
            [
                f"crosses; token weights less biased from an ητλ {predicted(result, CROSSING)} on",
                predicted(result, LARGER),
            ],
            gap=0.75,
        ),
    ]
    exact = found(result, EXACT)
    figure, (biases, losses, (instance, larger)) = panels(
        "Token-weighted and uniform merges of groups of unequal size",
        "Branches take steps in proportion to their tokens, as in one epoch. Bias: distance of the merge from joint "
        f"training over the branches' length. Token weights at equal steps: at most {exact:.0e} (predicted "
        f"{predicted(result, EXACT):g}). Joint losses are at equal steps. Bands and bars: 95 % "
        "intervals over draws.",
        rows,
    )
    progress = result.arrays["progress"]
    for cut, bias, loss in zip(CUTS, biases, losses, strict=True):
        for merge in MERGES:
            _by_progress(bias, result, BIAS.format(PROPORTIONAL, merge.label, cut), merge)
            _by_progress(loss, result, LOSS.format(merge.label, cut), merge)
        _by_progress(bias, result, BIAS.format("equal steps", "uniform", cut), EQUAL_STEPS)
        bias.axvline(crossings[cut], color=MUTED, linewidth=0.9, linestyle=":", zorder=0)
        loss.axhline(0, color=LINE, linewidth=0.8, zorder=0)
        loss.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1000 * value:g}"))
    biases[0].set_ylabel("over the branches' length")
    losses[0].set_ylabel("‰ of the start's loss")
    for merge, told in predicted(result, INSTANCE).items():
        series = next(own for own in MERGES if own.label == merge)
        series.bare(instance, progress, list(found(result, INSTANCE)[merge].values()))
        PREDICTED.bare(instance, [float(key.removeprefix("ητλ = ")) for key in told], list(told.values()))
    instance.axhline(0, color=LINE, linewidth=0.8, zorder=0)
    instance.set_ylabel("displacement of the merge")
    _name_progress(instance, result)
    Series("", INK, line="").row(larger, range(len(CUTS)), intervals(result, LARGER, CUTS))
    stripe(larger, len(CUTS))
    larger.set_yticks(range(len(CUTS)), [f"cut by {cut}" for cut in CUTS])
    larger.axvline(0.5, color=LINE, linewidth=0.8, zorder=0)
    larger.set_xlabel("share of all tokens")
    return figure


def _by_progress(axes: Axes, result: SimulationResult, name: str, series: Series) -> None:
    series.curve(axes, result.arrays["progress"], intervals(result, name, list(found(result, name))))
    _name_progress(axes, result)


def _name_progress(axes: Axes, result: SimulationResult) -> None:
    tried(axes, result.arrays["progress"])
    axes.set_xlabel("ητλ")
