"""Whether the axis of a split finds a planted conflict, by centring and normalisation, as a shared mean grows."""

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.simulation.findings import found, intervals, predicted
from figures.simulation.panels import Row, panels
from figures.simulation.series import Series
from figures.simulation_result import SimulationResult
from figures.style import GROUP_COLOURS, MUTED, styled

DASHED = (0.0, (3.0, 2.0))
MEASURES = ("alignment with the conflict", "share of the best gain")
LINES: dict[str, Literal["-"] | tuple[float, tuple[float, float]]] = {"gram": DASHED, "cosine": "-"}
LOOKS = {
    "none": (GROUP_COLOURS[1], "o"),
    "rows": (GROUP_COLOURS[2], "s"),
    "double": (GROUP_COLOURS[0], "D"),
}
RANDOM = Series("random split", MUTED, "", (0.0, (1.0, 1.5)))
AGREEMENTS = {
    "|cosine| of Gram and cosine axis, doubly centred, conflict at right angles to the mean": "|cosine| of both axes",
    "share of tasks on the same side of both, at least one half by definition": "tasks on the same side of both",
    "share of draws in which the bound of F.4 says something": "draws bounded by F.4",
}
SPREAD_LOOKS = ((GROUP_COLOURS[4], "o"), (GROUP_COLOURS[2], "s"), (GROUP_COLOURS[3], "D"), (GROUP_COLOURS[5], "v"))


@styled()
def draw(result: SimulationResult) -> Figure:
    """Alignment and gain of six axes by the length of the shared mean, and how the Gram and cosine axes agree.

    Raises:
        InputError: the result lacks a finding that is drawn.
    """
    spread = f"norm spread {result.arrays['spreads'][-1]:g}"
    names = [str(name) for name in result.arrays["axes"]]
    axes_shown = {name: _series(name) for name in names}
    tilts = [f"tilt {tilt:g}" for tilt in result.arrays["tilts"]]
    spreads = [
        Series(f"norm spread {value:g}", *SPREAD_LOOKS[number % len(SPREAD_LOOKS)])
        for number, value in enumerate(result.arrays["spreads"])
    ]
    rows = [
        *(
            Row(
                [f"{measure}, {tilt}" for tilt in tilts],
                1.3,
                (*axes_shown.values(), RANDOM) if number == 0 else (),
                [_told(result, measure, spread, names)],
            )
            for number, measure in enumerate(MEASURES)
        ),
        Row(list(AGREEMENTS.values()), 1.2, spreads, [predicted(result, name) for name in AGREEMENTS], gap=0.5),
    ]
    figure, (*measured, agreements) = panels(
        "Axes of the Gram and of the cosine matrix as gradients share a mean",
        f"Tasks with a planted conflict. Upper rows, at a {spread}: |cosine| of an axis with the conflict, and gain of "
        "its median split over the best of all splits. Tilt: cosine of conflict and mean; the conflict has length "
        "one. Lower row: the doubly centred Gram axis beside the cosine axis. Bands: 95 % intervals over draws.",
        rows,
    )
    for measure, own in zip(MEASURES, measured, strict=True):
        for tilt, axes in zip(tilts, own, strict=True):
            for name, series in axes_shown.items():
                _curve(axes, result, f"{measure}, {name}, {spread}", tilt, series)
            if measure == MEASURES[1]:
                _curve(axes, result, f"{measure} of random splits, {spread}", tilt, RANDOM)
    for name, axes in zip(AGREEMENTS, agreements, strict=True):
        for series in spreads:
            _curve(axes, result, name, series.label, series)
    return figure


def _series(name: str) -> Series:
    matrix, _, centring = name.partition(", centring ")
    return Series(f"{matrix}, {centring}", *LOOKS[centring], LINES[matrix])


def _curve(axes: Axes, result: SimulationResult, name: str, cell: str, series: Series) -> None:
    """A finding over the lengths of the mean, which lie at equal distances."""
    keys = list(found(result, name)[cell])
    series.curve(axes, range(len(keys)), intervals(result, name, [(cell, key) for key in keys]))
    axes.set_xticks(range(len(keys)), [key.removeprefix("mean ") for key in keys])
    axes.set_xlabel("length of the shared mean")
    axes.set_ylim(-0.03, 1.05)


def _told(result: SimulationResult, measure: str, spread: str, names: list[str]) -> str:
    """What was predicted of each axis, axes of the same fate together."""
    fates: dict[str, list[str]] = {}
    for name in names:
        fates.setdefault(predicted(result, f"{measure}, {name}, {spread}"), []).append(_series(name).label)
    return "; ".join(f"{' and '.join(alike)}: {fate}" for fate, alike in fates.items())
