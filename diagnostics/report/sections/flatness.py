"""What weight noise says."""

from diagnostics.flatness import Comparison, Flatness, Grid
from diagnostics.report.numbers import interval_text
from diagnostics.report.section import Picture, Section, Table
from training.evaluation.noise import Interval

REFERENCES = {"joint": "joint training at equal tokens", "joint-equal-steps": "joint training at equal steps"}

INVARIANCE = (
    "Flatness under noise depends on how weights are scaled: networks that compute one function, with weights scaled "
    "up in one layer and down in the next, differ in it. Isotropic noise does nothing about that, so larger weights "
    "alone may look flatter. Filter-normalised noise grows with the rows and cancels a scaling of whole matrices, but "
    "no other change of coordinates; neither kind says that a flatter model generalises better."
)


def section(result: Flatness) -> Section:
    """Rises of the loss, and whether the merged model's is smaller than joint training's."""
    return Section(
        name=result.name,
        title="Flatness under weight noise",
        meaning=" ".join(_meaning(grid) for grid in result.grids),
        uncertainty=(
            f"Intervals cover {result.draws} draws of noise and {result.items} items, resampled jointly, and not "
            f"another seed of training; with fewer than ten draws they are narrower than they should be. {INVARIANCE}"
        ),
        pictures=(Picture("flatness", _in_words(result)),),
        tables=tuple(_table(grid, result) for grid in result.grids),
        cost=result.cost,
    )


def _meaning(grid: Grid) -> str:
    start = f"Under {grid.kind} noise "
    if grid.reach is None:
        return f"{start}the loss overflowed already at σ = {grid.sigmas[0]:g}, so no curves can be compared."
    increase = grid.curves[0].increases[grid.sigmas.index(grid.reach)]
    assert increase is not None
    sentence = (
        f"{start}of σ = {grid.reach:g} the merged model's loss changes by {_text(increase)} nats per answer token"
    )
    compared = [_compared(comparison) for comparison in grid.comparisons]
    if compared:
        sentence += f"; by the area under the curve it is {' and '.join(compared)}"
    if grid.reach < grid.sigmas[-1]:
        sentence += f"; above σ = {grid.reach:g} losses overflowed, so areas end there"
    return f"{sentence}."


def _compared(comparison: Comparison) -> str:
    other = REFERENCES[comparison.other]
    assert comparison.area is not None
    relation = "not separated from" if comparison.verdict == "not separated" else f"{comparison.verdict} than"
    return f"{relation} {other} ({_text(comparison.area)})"


def _in_words(result: Flatness) -> str:
    models = ", ".join(result.losses)
    kinds = " and ".join(grid.kind for grid in result.grids)
    return f"Increase of the loss with the size of {kinds} noise, for {models}, with 95 % intervals."


def _table(grid: Grid, result: Flatness) -> Table:
    evaluations = result.draws * result.items
    rows = []
    for number, sigma in enumerate(grid.sigmas):
        own = [_cell(curve.increases[number], curve.overflowed[number], evaluations) for curve in grid.curves]
        rows.append((f"{sigma:g}", *own, *(_known(entry.differences[number]) for entry in grid.comparisons)))
    areas = [entry.area for entry in (*grid.curves, *grid.comparisons)]
    if grid.reach is not None:
        rows.append((f"area to {grid.reach:g}", *map(_known, areas)))
    return Table(
        caption=(
            f"{grid.kind.capitalize()} noise: increase of the loss by σ, in nats per answer token [95 %]; areas in "
            "nats per answer token times σ"
        ),
        head=("σ", *(curve.model for curve in grid.curves), *(f"merged − {entry.other}" for entry in grid.comparisons)),
        rows=tuple(rows),
    )


def _cell(increase: Interval | None, overflowed: int, evaluations: int) -> str:
    return _text(increase) if increase is not None else f"overflow in {overflowed} of {evaluations}"


def _known(interval: Interval | None) -> str:
    return "–" if interval is None else _text(interval)


def _text(interval: Interval) -> str:
    return interval_text(interval, signed=True)
