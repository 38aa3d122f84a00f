"""What the loss surfaces say."""

from diagnostics.landscape import Landscape, Surface
from diagnostics.report.numbers import interval_text, number_text
from diagnostics.report.section import Picture, Section, Table

PLANES = {"pca": "In the plane of the checkpoints", "random": "In a random plane around the merged model"}


def section(result: Landscape) -> Section:
    """Lowest points of the surfaces beside the merged model, and where the checkpoints lie."""
    points = len(result.surfaces[0].first)
    return Section(
        name=result.name,
        title="Loss surface",
        meaning=" ".join(_meaning(surface) for surface in result.surfaces),
        uncertainty=(
            f"Intervals are paired over {result.items} items, at the one point that was lowest; the lowest of many "
            f"noisy losses is optimistic, and they do not cover that choice. A grid of {points} × {points} points "
            "shows nothing narrower than its spacing, and a plane nothing of the directions that it leaves out."
        ),
        pictures=(Picture("landscape", _in_words(result)),),
        tables=(_minima(result), *(_places(surface) for surface in result.surfaces if surface.inside)),
        cost=result.cost,
    )


def _meaning(surface: Surface) -> str:
    difference = surface.minimum.minus_merged
    text = interval_text(difference, signed=True)
    if difference.high < 0:
        relation = f"lies below the merged model's own loss ({text} nats per answer token)"
    elif difference.low > 0:
        relation = f"lies above the merged model's own loss ({text} nats per answer token)"
    else:
        relation = f"is not separated from the merged model's own loss ({text} nats per answer token)"
    sentence = f"{PLANES[surface.plane]} the lowest point of the grid {relation}"
    if surface.minimum.at_edge:
        sentence += "; it is on the rim, so there may be lower ones outside"
    if surface.overflowed:
        sentence += f"; {surface.overflowed} points overflowed"
    return f"{sentence}."


def _in_words(result: Landscape) -> str:
    planes = " and ".join(PLANES[surface.plane].removeprefix("In ") for surface in result.surfaces)
    return f"Contours of the loss over {planes}, with the checkpoints marked."


def _minima(result: Landscape) -> Table:
    rows = [("merged model itself", "", interval_text(result.merged), "")]
    for surface in result.surfaces:
        lowest = surface.minimum
        rows.append(
            (
                f"lowest of the {surface.plane} grid",
                ", ".join(number_text(coordinate) for coordinate in lowest.position),
                interval_text(lowest.loss),
                interval_text(lowest.minus_merged, signed=True),
            )
        )
    return Table("Losses in nats per answer token", ("", "at", "loss [95 %]", "minus merged [95 %]"), tuple(rows))


def _places(surface: Surface) -> Table:
    return Table(
        caption="Checkpoints in the plane: distances from the start in weights, and the share of each displacement's "
        "squared norm that lies in the plane",
        head=("checkpoint", "axis 1", "axis 2", "in the plane"),
        rows=tuple(
            (name, number_text(x), number_text(y), f"{100 * surface.inside[name]:.1f} %" if name != "start" else "–")
            for name, (x, y) in surface.positions.items()
        ),
    )
