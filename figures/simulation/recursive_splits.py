"""Gain and merged loss of recursive splits into 2, 4 and 8 groups, at equal steps and at equal tokens."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.simulation.findings import found, intervals, predicted
from figures.simulation.panels import Row, panels
from figures.simulation.series import Series
from figures.simulation_result import SimulationResult
from figures.style import GROUP_COLOURS, LINE, MUTED, styled

NARROW = "\N{NO-BREAK SPACE}"
DASHED = (0.0, (3.0, 2.0))
HOW = ("gradient descent", "SGD")
BUDGETS = ("steps", "tokens")
AXES, RANDOM = "axes of the Gram matrix", "random"
LOOKS = {AXES: ("o", (GROUP_COLOURS[4], GROUP_COLOURS[0])), RANDOM: ("s", (GROUP_COLOURS[1], GROUP_COLOURS[5]))}
"""Marker of a rule, and its colours at the first rate and at others."""

RANDOM_GROWTH = "gain of random halving at equal steps, first order, over its expectation with 2 groups"
OVER_RANDOM = "gain of the axes over that of random halving, first order, equal steps"
AT_TOKENS = "gain at equal tokens over its mean with 2 groups"
PREDICTED = Series("predicted", MUTED, "x", ":")


@styled()
def draw(result: SimulationResult) -> Figure:
    """Growth of the gain from level to level above, merged loss over that of joint training below.

    Raises:
        InputError: the result lacks a finding that is drawn.
    """
    rates = [f"η = {rate:g}" for rate in result.arrays["rates"]]
    series = {
        (rule, rate): Series(f"{rule}, {rate}", colours[min(number, 1)], marker, DASHED if rule == RANDOM else "-")
        for rule, (marker, colours) in LOOKS.items()
        for number, rate in enumerate(rates)
    }
    cells = [(how, budget) for how in HOW for budget in BUDGETS]
    told = predicted(result, AT_TOKENS)
    words = "; ".join(f"{name}: {of}" for name, of in told.items() if isinstance(of, str))
    rows = [
        Row(
            ["gain of random halving, equal steps", "gain of the axes over random", "gain at equal tokens"],
            1.3,
            (*series.values(), PREDICTED),
            ["crosses", predicted(result, OVER_RANDOM), f"crosses for random, small ητλ; {words}"],
            gap=0.55,
        ),
        *(
            Row(
                [f"{how}, equal {budget}, {rate.replace(' ', NARROW)}" for how, budget in cells],
                1.15,
                (),
                [predicted(result, _merged(how, budget, rate)) for how, budget in cells],
                gap=0.48,
            )
            for rate in rates
        ),
    ]
    figure, ((growth, over_random, tokens), *merged) = panels(
        "Gain and merged loss as a split is refined",
        "Recursive halving along the axes of the Gram matrix or at random. Gains at equal steps are of the first-order "
        "model, in units of the expected random gain with 2 groups; gains at equal tokens in units of the mean with 2 "
        "groups. Lower rows: merged loss over that of joint training. Bands: 95 % intervals over mixtures.",
        rows,
    )
    levels = list(found(result, RANDOM_GROWTH))
    _draw_levels(growth, result, RANDOM_GROWTH, levels, series[RANDOM, rates[0]])
    PREDICTED.bare(growth, range(len(levels)), [predicted(result, RANDOM_GROWTH)[level] for level in levels])
    _draw_levels(over_random, result, OVER_RANDOM, levels, series[AXES, rates[0]])
    for key, own in series.items():
        _draw_levels(tokens, result, AT_TOKENS, [(", ".join(key), level) for level in levels], own)
    for numbers in told.values():
        if not isinstance(numbers, str):
            PREDICTED.bare(tokens, range(len(levels)), numbers)
    growth.set_ylabel("ratio of gains")
    for rate, row in zip(rates, merged, strict=True):
        row[0].set_ylabel("merged over joint loss")
        for (how, budget), axes in zip(cells, row, strict=True):
            for rule in LOOKS:
                keys = [(rule, level) for level in levels]
                _draw_levels(axes, result, _merged(how, budget, rate), keys, series[rule, rate])
            axes.axhline(1, color=LINE, linewidth=0.8, zorder=0)
            axes.ticklabel_format(axis="y", useOffset=False)
            low, high = axes.get_ylim()
            axes.set_ylim(min(low, 0.95), max(high, 1.05))
    return figure


def _merged(how: str, budget: str, rate: str) -> str:
    return f"merged over joint loss at equal {budget}, {how}, {rate}"


def _draw_levels(
    axes: Axes, result: SimulationResult, name: str, keys: Sequence[str | tuple[str, ...]], series: Series
) -> None:
    """A finding over the numbers of groups, which lie at equal distances."""
    series.curve(axes, range(len(keys)), intervals(result, name, keys))
    levels = [key if isinstance(key, str) else key[-1] for key in keys]
    axes.set_xticks(range(len(levels)), [level.removesuffix(" groups") for level in levels])
    axes.set_xlabel("groups")
