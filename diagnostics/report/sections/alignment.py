"""Whether the tasks' conflict axes point where the loss is sharp."""

from diagnostics.alignment_nulls import Statistic
from diagnostics.alignment_result import Alignment, ConflictAxes, Curvature, ParameterSet
from diagnostics.report.numbers import interval_text
from diagnostics.report.section import Picture, Section, Table

SETS = {"chosen": "all chosen parameters", "without-norms": "without one-dimensional parameters"}
VERDICTS = {
    "above": "closer than 95 % of chance allows",
    "below": "farther away than 95 % of chance allows",
    "within": "no closer than chance",
}
SURE_HALVES = 0.5
"""Cosine between halves below which a direction is mostly noise."""


def section(result: Alignment) -> Section:
    """Cosines of conflict directions with the sharp space, their rank among chance, and the curvature along them."""
    first = result.sets[0]
    return Section(
        name=result.name,
        title="Conflict axes against sharp directions",
        meaning=_meaning(first),
        uncertainty=_uncertainty(result),
        pictures=(
            Picture(
                "alignment",
                "Cosines of random vectors, task gradients and conflict directions with the space of the sharpest "
                "directions, beside random combinations of the same gradients.",
            ),
            Picture("spectrum", "Largest eigenvalues of the Hessian, and the curvature along conflict directions."),
        ),
        tables=tuple(
            table
            for found in result.sets
            for table in (_cosines(found), _subspaces(found), _eigenvalues(found), _curvatures(found))
        ),
        cost=result.cost,
    )


def _meaning(found: ParameterSet) -> str:
    axis = found.axes[-1].directions[0]
    chance = axis.eigenspace.span
    return (
        f"The first conflict axis has cosine {axis.eigenspace.value:.3f} with the space of the "
        f"{len(found.spectrum.values)} sharpest directions at the start: {VERDICTS[chance.verdict]}, for random "
        f"combinations of the same gradients reach {chance.low:.3f} to {chance.high:.3f} (rank {chance.rank:.2f})."
    )


def _uncertainty(result: Alignment) -> str:
    found = result.sets[0]
    axis = found.axes[-1].directions[0]
    first, second = axis.eigenspace.halves
    text = (
        f"Either half of the examples alone gives {first:.3f} and {second:.3f}, and the axis has cosine "
        f"{axis.half_cosine:.2f} between them"
    )
    text += (
        "; so few examples do not settle where it points. "
        if axis.half_cosine < SURE_HALVES
        else ", so sampling noise does not make it. "
    )
    text += (
        f"Its z-score against Gaussian vectors, {axis.gaussian_z:,.0f}, says nothing: every combination of gradients "
        f"has one like it. The Hessian is of {result.hessian_examples} examples of {len(result.hessian_tasks)} tasks, "
        f"over {found.entries:,} parameters ({', '.join(result.parameters)}); its eigenvalues are ordered by magnitude"
    )
    signs = {value > 0 for value in found.spectrum.values}
    text += ", for it is indefinite." if len(signs) > 1 else "."
    loose = len(found.spectrum.converged) - sum(found.spectrum.converged)
    if loose:
        text += f" {loose} of its eigenvectors have not converged to the tolerance asked for."
    return text


def _cosines(found: ParameterSet) -> Table:
    tier = found.random_vector, found.task_gradient
    rows = [
        (label, f"{spread.mean:.4f} ± {spread.deviation:.4f}", "–", "–", "–", "–", "–")
        for label, spread in zip(("random vector", "single task gradient"), tier, strict=True)
    ]
    for axes in found.axes:
        rows += [
            (
                f"{axes.name} {number}",
                f"{direction.eigenspace.value:.4f}",
                " / ".join(f"{value:.3f}" for value in direction.eigenspace.halves),
                "–" if direction.corrected is None else f"{direction.corrected:.3f}",
                f"{direction.eigenspace.span.rank:.3f}",
                f"{direction.eigenspace.permutation.rank:.3f}",
                f"{direction.gaussian_z:,.0f}",
            )
            for number, direction in enumerate(axes.directions, start=1)
        ]
    caption = (
        f"Cosine with the space of the {len(found.spectrum.values)} sharpest directions, {SETS[found.name]}: of either "
        "half, without noise, and as a rank among chance"
    )
    head = ("direction", "cosine", "halves", "corrected", "rank in span", "rank permuted", "Gaussian z")
    return Table(caption, head, tuple(rows))


def _subspaces(found: ParameterSet) -> Table:
    def row(label: str, of: str) -> tuple[str, ...]:
        cells = [label]
        for axes in found.axes:
            statistic: Statistic = getattr(axes, of)
            cells += [f"{statistic.value:.4f}", f"{statistic.span.rank:.3f}", f"{statistic.permutation.rank:.3f}"]
        return tuple(cells)

    rows = (
        row("largest |cosine| with one eigenvector", "largest"),
        row("mean over directions of the largest", "mean_nearest"),
        row("cosine of the leading principal angle", "leading"),
        ("leading principal angle in degrees", *_angles(found.axes)),
    )
    head = ("", *(cell for axes in found.axes for cell in (axes.name, "rank in span", "rank permuted")))
    return Table(f"All conflict directions together, {SETS[found.name]}", head, rows)


def _angles(axes: tuple[ConflictAxes, ...]) -> tuple[str, ...]:
    return tuple(cell for found in axes for cell in (f"{found.leading_angle:.1f}", "–", "–"))


def _eigenvalues(found: ParameterSet) -> Table:
    spectrum = found.spectrum
    together = {position: cluster for cluster in spectrum.clusters if len(cluster) > 1 for position in cluster}
    rows = tuple(
        (
            str(position + 1),
            f"{value:.5g}",
            f"{bar:.2g}",
            f"{residual:.2g}",
            "yes" if converged else "no",
            ", ".join(str(other + 1) for other in together.get(position, ()) if other != position) or "–",
        )
        for position, (value, bar, residual, converged) in enumerate(
            zip(spectrum.values, spectrum.error_bars, spectrum.residuals, spectrum.converged, strict=True)
        )
    )
    caption = (
        f"Eigenvalues by magnitude, {SETS[found.name]}, in nats per answer token and squared unit of the parameters"
    )
    if spectrum.trace is not None:
        caption += f"; all together sum to {interval_text(spectrum.trace)}"
    return Table(caption, ("", "eigenvalue", "error bar", "residual", "converged", "not told apart from"), rows)


def _curvatures(found: ParameterSet) -> Table:
    named: list[tuple[str, Curvature]] = [
        (f"{axes.name} {number}", direction.curvature)
        for axes in found.axes
        for number, direction in enumerate(axes.directions, start=1)
    ]
    named += [(f"displacement of {entry.branch}", entry.curvature) for entry in found.branches]
    named.append(("random vector", found.random_direction))
    scale = found.spectrum.mean_magnitude
    rows = tuple(
        (label, f"{curvature.value:.4g}", f"{curvature.value / scale:.2g}", _share(curvature))
        for label, curvature in named
    )
    caption = (
        f"Curvature along unit directions, {SETS[found.name]}; mean magnitude of the eigenvalues found: {scale:.4g}"
    )
    return Table(caption, ("direction", "curvature", "over that mean", "share on positive curvature"), rows)


def _share(curvature: Curvature) -> str:
    if curvature.positive is None:
        return "–"
    low, value, high = curvature.positive
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"
