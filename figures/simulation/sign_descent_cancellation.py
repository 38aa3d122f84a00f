"""How much of the joint step a merge loses to cancelling signs, by signal to noise and optimiser."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.model_rows import stripe
from figures.simulation.findings import found, intervals, predicted
from figures.simulation.panels import Row, panels
from figures.simulation.series import Series
from figures.simulation.value_axes import tried
from figures.simulation_result import SimulationResult
from figures.style import GROUP_COLOURS, INK, LINE, styled

SPLITS = (Series("PCA", GROUP_COLOURS[0], "o"), Series("random", GROUP_COLOURS[1], "s"))
OPTIMISERS = ("sign descent", "Adam, own second moments", "Adam, one frozen second moment")
LENGTH = "length of merged over joint, sign descent, {}"
DESCENT = "loss decrease of merged over joint at equal steps, sign descent, {}"
DIFFERENCE = "PCA less random, length of merged over joint, sign descent"
SIMULATED = "length of merged over joint, simulated, {}, {}"
WITHOUT_NOISE = {
    "share of coordinates where the groups' signs differ": "signs differ, share",
    "length of merged over joint without noise": "length without noise",
}
PREDICTED = Series("predicted", INK, "x", "")


@styled()
def draw(result: SimulationResult) -> Figure:
    """Length and descent of the merge over those of joint training, in closed form above and simulated below.

    Raises:
        InputError: the result lacks a finding that is drawn.
    """
    lengths = "; ".join(f"{split.label}: {predicted(result, LENGTH.format(split.label))}" for split in SPLITS)
    rows = [
        Row(
            ["merged over joint length, closed form", "merged over joint loss decrease", "length, PCA less random"],
            1.25,
            SPLITS,
            [lengths, predicted(result, DESCENT.format(SPLITS[0].label)), predicted(result, DIFFERENCE)],
            gap=0.45,
        ),
        Row(
            [f"simulated length, {optimiser}" for optimiser in OPTIMISERS],
            1.25,
            (),
            [predicted(result, SIMULATED.format(optimiser, SPLITS[0].label)) for optimiser in OPTIMISERS],
            gap=0.45,
        ),
        Row(list(WITHOUT_NOISE.values()), 0.45, (*SPLITS, PREDICTED), ["crosses", "crosses"]),
    ]
    figure, ((length, descent, difference), simulated, without_noise) = panels(
        "Merges where the groups' signs cancel",
        "Linear loss, updates like Adam's; everything is the merge over joint training at equal steps, so one is no "
        "loss. SNR: size of the joint gradient over the noise, per coordinate. Bands and bars: 95 % intervals over "
        "draws.",
        rows,
    )
    for split in SPLITS:
        _by_noise(length, result, LENGTH.format(split.label), split)
        _by_noise(descent, result, DESCENT.format(split.label), split)
        for optimiser, axes in zip(OPTIMISERS, simulated, strict=True):
            _by_noise(axes, result, SIMULATED.format(optimiser, split.label), split)
    _by_noise(difference, result, DIFFERENCE, Series("", GROUP_COLOURS[2], "D"))
    difference.axhline(0, color=LINE, linewidth=0.8, zorder=0)
    for axes in (length, descent, *simulated):
        axes.axhline(1, color=LINE, linewidth=0.8, zorder=0)
    own = (length, descent, *simulated)
    low, high = min(axes.get_ylim()[0] for axes in own), max(axes.get_ylim()[1] for axes in own)
    for axes in own:
        axes.set_ylim(low, high)
    for name, axes in zip(WITHOUT_NOISE, without_noise, strict=True):
        told = predicted(result, name)
        for place, split in enumerate(SPLITS):
            split.row(axes, [place], intervals(result, name, [split.label]))
            PREDICTED.bare(axes, [told[split.label]], [place])
        stripe(axes, len(SPLITS))
        axes.set_yticks(range(len(SPLITS)), [split.label for split in SPLITS])
        axes.set_xlabel("share of coordinates" if axes is without_noise[0] else "merged over joint length")
    return figure


def _by_noise(axes: Axes, result: SimulationResult, name: str, series: Series) -> None:
    ratios = result.arrays["signal_to_noise"]
    series.curve(axes, ratios, intervals(result, name, list(found(result, name))))
    tried(axes, ratios)
    axes.set_xlabel("SNR")
