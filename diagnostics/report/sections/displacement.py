"""What the displacements say: how far the models moved, which way, and what averaging took away."""

from collections.abc import Sequence

from diagnostics.displacement import Displacements, Part
from diagnostics.report.numbers import number_text
from diagnostics.report.section import Picture, Section, Table
from diagnostics.trajectories import AVERAGE, Trajectories


def section(result: Displacements) -> Section:
    """The part of the report about :class:`diagnostics.displacement.Displacements`."""
    pictures = [Picture("displacement_by_layer", _layers_in_words(result))]
    if result.courses:
        names = ", ".join(course.model for course in result.courses)
        pictures.append(Picture("displacement_over_training", f"Distance from the start by step: {names}."))
    if result.paths is not None:
        pictures.append(Picture("trajectories", _paths_in_words(result.paths)))
    contraction = result.contraction
    return Section(
        name=result.name,
        title="Distance from the start",
        meaning=" ".join((_meaning(result), _as_average(result))),
        uncertainty=(
            "These numbers are exact for these checkpoints and have no sampling interval; what another seed or order "
            "of the examples would give, one run cannot show. That an average lies nearer to the start than what is "
            "averaged is an identity, true of any branches "
            f"({contraction.average:.6g} = {contraction.branches:.6g} − {contraction.spread:.6g}, residual "
            f"{contraction.residual:.0e}), and no sign of a good merge; that it lies nearer than joint training does "
            "not follow from it."
        ),
        pictures=tuple(pictures),
        tables=(_models(result), _parts("kind of module", result.kinds, result)),
        cost=result.cost,
    )


def _meaning(result: Displacements) -> str:
    merged = result.norms["merged"]
    sentence = (
        f"The merged model lies {number_text(merged)} from the start, {_percent(merged / result.branch_norm)} of the "
        f"branches' {number_text(result.branch_norm)} (root mean square)"
    )
    references = {"joint": "joint training at equal tokens", "joint-equal-steps": "joint training at equal steps"}
    compared = [
        f"{'nearer' if merged < result.norms[model] else 'no nearer'} than {told} ({number_text(result.norms[model])})"
        for model, told in references.items()
        if model in result.norms
    ]
    if compared:
        sentence += f": {' and '.join(compared)}"
    if result.agreement is not None:
        sentence += (
            f". The branches' displacements have a mean cosine of {number_text(result.agreement, 2)}, and averaging "
            f"cancels {_percent(result.cancelled)} of their movement"
        )
    return f"{sentence}."


def _as_average(result: Displacements) -> str:
    if not result.is_average:
        return (
            f"The merged model is not the branches' weighted average: it is off by {_percent(result.average_error, 2)} "
            "of the longest branch displacement, which another operator or other merge weights explain."
        )
    if result.rounding > 0.1:
        return (
            "The merged model may be the branches' weighted average, but is stored so coarsely that rounding alone can "
            f"move it by {_percent(result.rounding)} of the longest branch displacement; store it in float32."
        )
    return "The merged model is the branches' weighted average to within rounding."


def _layers_in_words(result: Displacements) -> str:
    known = [part for part in result.layers if part.agreement is not None]
    if not known:
        return "Length of the displacement within each layer, by model."
    most, least = (choose(known, key=lambda part: part.agreement or 0.0) for choose in (max, min))
    return (
        "Length of the displacement within each layer, by model, and the branches' mean cosine there: highest in "
        f"{most.name} ({most.agreement:.2f}), lowest in {least.name} ({least.agreement:.2f})."
    )


def _paths_in_words(found: Trajectories) -> str:
    names = ", ".join(path.model for path in found.models)
    shares = " and ".join(_percent(share) for share in found.explained)
    return f"Paths from the start in the plane of the branches' principal axes ({shares} of their squares): {names}."


def _models(result: Displacements) -> Table:
    names = [name for name in result.norms if name != AVERAGE]
    rows = [
        (name, number_text(result.norms[name]), *(_cosine(cosine) for cosine in result.cosines[number][: len(names)]))
        for number, name in enumerate(names)
    ]
    return Table(
        caption="Length of each model's displacement from the start, and cosines between displacements",
        head=("model", "‖δ‖", *names),
        rows=tuple(rows),
    )


def _parts(what: str, parts: Sequence[Part], result: Displacements) -> Table:
    names = [name for name in result.norms if name != AVERAGE]
    rows = [
        (
            part.name,
            *(_percent(result.share(part, name), 1) for name in names),
            _cosine(part.agreement),
            "–" if part.cancelled is None else _percent(part.cancelled, 1),
        )
        for part in parts
    ]
    return Table(
        caption=(
            f"Share of each model's squared displacement by {what}, the branches' mean cosine, and the share of their "
            f"movement that averaging cancels; over the whole network {_percent(result.opposed_coordinates, 1)} of the "
            f"coordinates, with {_percent(result.opposed, 1)} of the movement, have branches of opposite signs"
        ),
        head=(what, *names, "cosine", "cancelled"),
        rows=tuple(rows),
    )


def _percent(share: float, digits: int = 0) -> str:
    return f"{number_text(100 * share, digits)} %"


def _cosine(value: float | None) -> str:
    return "–" if value is None else number_text(value, 2)
