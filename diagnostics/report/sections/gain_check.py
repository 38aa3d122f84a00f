"""Whether the theory's number is the model's."""

from diagnostics.gain_check import GainCheck
from diagnostics.report.numbers import MOST_DIGITS, interval_text, number_text
from diagnostics.report.section import Picture, Section, Table

SAID = {
    "agrees": "the two agree",
    "cannot tell": "these items are too few to tell whether that is the same",
    "overshoots": "the theory says more than there is",
    "undershoots": "the theory says less than there is",
}


def section(result: GainCheck) -> Section:
    """Predicted and measured gain, and the terms that make up the difference."""
    measured, predicted = result.measured, result.predicted
    error = f" ({100 * result.relative_error:+.0f} %)" if result.difference.separates_from_zero else ""
    rows = [
        ("measured", measured),
        ("predicted by Hessian products", predicted),
        ("predicted minus measured", result.difference),
        ("from midpoint dips", result.from_dips),
        ("first order", result.linear),
        ("second order, from products", result.quadratic),
        ("second order, from losses near the merged point", result.second_difference),
        ("third order", result.cubic),
        ("what remains", result.rest),
    ]
    uncertainty = (
        f"All on the same {result.items} items, with paired intervals over them; that the second-order term agrees "
        "between products and losses checks both."
    )
    if not result.is_average:
        uncertainty += (
            " The merged model is not the weighted average of the branches, so the first-order term counts as well."
        )
    return Section(
        name=result.name,
        title="Gain: theory against model",
        meaning=(
            f"Merging took {measured.value:+.4f} nats off the branches' average loss; the Hessian at the merged point "
            f"predicts {predicted.value:+.4f}, and {SAID[result.verdict]}{error}."
        ),
        uncertainty=uncertainty,
        pictures=(Picture("gain_check", "Predicted and measured gain with intervals, and the terms of each order."),),
        tables=(
            Table(
                "Gain in nats per answer token",
                ("", "value [95 %]"),
                tuple((name, interval_text(v, signed=True)) for name, v in rows),
            ),
            Table(
                "Pairs of branches at their midpoint, in nats per answer token",
                ("pair", "measured dip [95 %]", "⅛ dᵀHd at the merged point"),
                tuple(
                    (
                        " and ".join(dip.ends),
                        interval_text(dip.measured, signed=True),
                        number_text(dip.predicted, MOST_DIGITS, signed=True),
                    )
                    for dip in result.dips
                ),
            ),
        ),
        cost=result.cost,
    )
