"""All arms of a run: loss with its interval, right answers, and loss on unseen tasks."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.arm_families import COLOURS, Family, family_of
from figures.cells import interval_cell
from figures.names import shortened
from figures.recorded import summary_of
from figures.run.arm_rows import LONGEST_NAME, NAME_SIZE, ArmRows, hold, limit, mark, whisker
from figures.style import FULL_WIDTH, INK, MUTED, headed_figure, styled, text_width
from training.run_directory import RunDirectory

NATS = "nats per answer token"

# Layout in inches.
BOTTOM = 0.42
ABOVE = 0.22
GAP = 0.15
RIGHT = 0.2


@styled()
def draw(run: RunDirectory) -> Figure:
    """A row for each arm, under its family; a dashed line at the best of joint training and the controls.

    Raises:
        MissingInput: the run has not ended.
    """
    summary = summary_of(run)
    arms = {row["arm"]: row for row in summary["arms"]}
    rows = ArmRows.of(arms)
    best = _best_control(arms)
    figure = headed_figure(
        FULL_WIDTH,
        BOTTOM + rows.height + ABOVE,
        f"Every arm of the run {run.root.resolve().name}",
        _sentence(summary, best),
    )
    rows.write_names(figure, BOTTOM)
    values = {arm: interval_cell(row["loss"], 3) for arm, row in arms.items()}
    written = max(text_width(text, NAME_SIZE) for text in values.values()) + 0.1
    panels = _side_panels(arms)
    wide = FULL_WIDTH - rows.left - written - RIGHT - GAP * len(panels)
    width = wide / (1 + 0.45 * len(panels))

    loss = rows.panel(figure, rows.left, BOTTOM, width, "mean over tasks")
    _draw_losses(loss, rows, arms, best)
    for arm, row in rows.arms.items():
        loss.text(1.035, row, values[arm], transform=loss.get_yaxis_transform(), size=NAME_SIZE, va="center", color=INK)
    left = rows.left + width + written + GAP
    for (title, unit), shown in panels.items():
        panel = rows.panel(figure, left, BOTTOM, 0.45 * width, title)
        (limit if unit == NATS else hold)(panel, list(shown.values()))
        for arm, value in shown.items():
            mark(panel, rows.arms[arm], value, COLOURS[family_of(arm)])
        panel.set_xlabel(unit)
        left += 0.45 * width + GAP
    return figure


def _sentence(summary: Mapping[str, Any], best: str | None) -> str:
    sentence = (
        f"Bars are 95 % intervals over the test items of one seed ({summary['seed']}): they say nothing about other "
        "seeds, partitions or tasks. All arms share the items, so a difference between two is known better than the "
        "overlap of their bars suggests."
    )
    if best is not None:
        sentence += f" Dashed: {shortened(best, LONGEST_NAME)}, lowest of joint training and controls at equal tokens."
    return sentence + " An arrow at a rim: the number lies beyond it."


def _best_control(arms: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The arm of the lowest loss among joint training and the controls that saw no more tokens than ``joint``."""
    most = arms["joint"]["tokens"] if "joint" in arms else max(row["tokens"] for row in arms.values())
    controls = [
        arm for arm, row in arms.items() if family_of(arm) in (Family.JOINT, Family.CONTROLS) and row["tokens"] <= most
    ]
    return min(controls, key=lambda arm: arms[arm]["loss"]["value"], default=None)


def _side_panels(arms: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, float]]:
    """Values by arm for each further panel, under its title and unit; arms without a value are left out."""

    def known(quantity: str, unit: float = 1.0) -> dict[str, float]:
        found = {arm: row["results"][quantity] for arm, row in arms.items()}
        return {arm: unit * value for arm, value in found.items() if value is not None}

    answers = ("right answers", "exact match, %"), known("exact_match", 100.0)
    if not answers[1]:
        answers = ("right tokens", "of answer tokens, %"), known("accuracy", 100.0)
    unseen = ("unseen tasks", NATS), known("unseen_loss")
    return {heading: values for heading, values in (answers, unseen) if values}


def _draw_losses(panel: Axes, rows: ArmRows, arms: Mapping[str, Mapping[str, Any]], best: str | None) -> None:
    losses = {arm: row["loss"] for arm, row in arms.items()}
    limit(
        panel,
        [loss["value"] for loss in losses.values()],
        [loss[end] for loss in losses.values() for end in ("low", "high")],
    )
    if best is not None:
        panel.axvline(losses[best]["value"], color=MUTED, linewidth=0.7, linestyle=(0, (3, 2)), zorder=0)
    for arm, loss in losses.items():
        colour = COLOURS[family_of(arm)]
        whisker(panel, rows.arms[arm], loss, colour)
        mark(panel, rows.arms[arm], loss["value"], colour, 4.6 if arm == best else 3.6)
    panel.set_xlabel(f"loss, {NATS}")
