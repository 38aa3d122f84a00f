"""What linear connectivity says."""

from diagnostics.connectivity import Connectivity
from diagnostics.report.numbers import interval_text
from diagnostics.report.section import Picture, Section, Table


def section(result: Connectivity) -> Section:
    """Barriers and dips of all paths."""
    worst = result.worst
    ends = " and ".join(worst.ends)
    if worst.barrier.low > 0:
        meaning = (
            f"There is a barrier: between {ends} the loss rises {worst.barrier.value:.3f} nats above the straight line "
            "between the two."
        )
    else:
        meaning = (
            f"No path has a barrier that the interval separates from zero; the largest is {worst.barrier.value:.4f} "
            f"nats, between {ends}."
        )
    points = len(worst.losses)
    return Section(
        name=result.name,
        title="Linear connectivity",
        meaning=meaning,
        uncertainty=(
            f"Intervals are paired over test items at {points} points a path; a barrier narrower than the grid would "
            "be missed, and a path without a barrier is no more than local convexity along it."
        ),
        pictures=(Picture("connectivity", f"Loss along {len(result.paths)} lines between models, with their chords."),),
        tables=(
            Table(
                caption="Every path; losses and barriers in nats per answer token",
                head=("path", "loss at ends", "lowest", "at", "barrier [95 %]", "dip at midpoint [95 %]"),
                rows=tuple(
                    (
                        " → ".join(path.ends),
                        f"{path.losses[0]:.3f}, {path.losses[-1]:.3f}",
                        f"{path.lowest[1]:.3f}",
                        f"{path.lowest[0]:.2f}",
                        interval_text(path.barrier),
                        interval_text(path.dip, signed=True),
                    )
                    for path in result.paths
                ),
            ),
        ),
        cost=result.cost,
    )
