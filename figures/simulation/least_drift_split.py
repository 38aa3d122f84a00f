"""Which number of a split orders the distances of merges from joint training, and what the least-drift split gains."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.simulation.findings import found, intervals, predicted
from figures.simulation.panels import Row, panels
from figures.simulation.series import Series
from figures.simulation.value_axes import tried
from figures.simulation_result import SimulationResult
from figures.style import GROUP_COLOURS, GROUP_MARKERS, LINE, styled

CORRELATION = "rank correlation of the {} with the distance from joint"
MEASURES = {
    "distance of the split by {} over the mean split's": ("distance over the mean split's", 1.0),
    "share of draws where the split by {} has a lower merged loss than the mean split": (
        "share of draws: lower merged loss than the mean split",
        0.5,
    ),
    "share of the mean split's loss above joint at equal steps left by {}": (
        "share left of the mean split's loss above joint",
        1.0,
    ),
}
COLOURS = {"gain": GROUP_COLOURS[1], "PCA of the task matrix M": GROUP_COLOURS[1]}
SHADES = (GROUP_COLOURS[0], GROUP_COLOURS[4], GROUP_COLOURS[2], GROUP_COLOURS[3], GROUP_COLOURS[5])


@styled()
def draw(result: SimulationResult) -> Figure:
    """Rank correlations of the candidates with the distance, and distance and loss of the split each of them picks.

    Raises:
        InputError: the result lacks a finding that is drawn.
    """
    candidates = _named(result, CORRELATION)
    rules = _named(result, next(iter(MEASURES)))
    rows = [
        Row(
            ["rank correlation over splits with the distance from joint training"],
            1.4,
            candidates,
            [_told(result, CORRELATION, candidates)],
        ),
        Row(
            [title for title, _ in MEASURES.values()],
            1.3,
            rules,
            [_told(result, name, rules) for name in MEASURES],
            gap=0.5,
        ),
    ]
    figure, ((correlation,), (distance, lower, left)) = panels(
        "Numbers of a split against its merge's distance from joint training",
        "All balanced splits of every draw. A number that orders the splits by their distance has rank correlation "
        "one. A rule takes the split of least drift, by the norm or by sketches of it from a few random directions, "
        "or that of PCA. ητ: with the sharpest curvature at one. Bands: 95 % intervals over draws; the last panel "
        "has means alone.",
        rows,
    )
    for series in candidates:
        _by_progress(correlation, result, CORRELATION, series)
    correlation.axhline(0, color=LINE, linewidth=0.8, zorder=0)
    for axes, (name, (_, level)) in zip((distance, lower, left), MEASURES.items(), strict=True):
        for series in rules:
            _by_progress(axes, result, name, series)
        axes.axhline(level, color=LINE, linewidth=0.8, zorder=0)
    lower.set_ylim(-0.03, 1.03)
    return figure


def _named(result: SimulationResult, name: str) -> list[Series]:
    """A series for everything that findings of this name are about; what rests on the gain is orange."""
    before, after = name.split("{}")
    about = [
        finding.removeprefix(before).removesuffix(after)
        for finding in result.findings
        if finding.startswith(before) and finding.endswith(after) and " less " not in finding
    ]
    if not about:
        found(result, name.format("…"))  # there is none, and this says so
    return [
        Series(own, COLOURS.get(own, SHADES[number % len(SHADES)]), GROUP_MARKERS[number])
        for number, own in enumerate(about)
    ]


def _told(result: SimulationResult, name: str, series: list[Series]) -> str:
    """What was predicted of each, those of the same fate together."""
    fates: dict[str, list[str]] = {}
    for own in series:
        fates.setdefault(predicted(result, name.format(own.label)), []).append(own.label)
    if len(fates) == 1:
        return next(iter(fates))
    return "; ".join(f"{' and '.join(alike)}: {fate}" for fate, alike in fates.items())


def _by_progress(axes: Axes, result: SimulationResult, name: str, series: Series) -> None:
    progress = result.arrays["progress"]
    finding = name.format(series.label)
    series.curve(axes, progress, intervals(result, finding, list(found(result, finding))))
    tried(axes, progress)
    axes.set_xlabel("ητ")
