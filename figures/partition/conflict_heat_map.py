"""Which tasks pull the weights the same way: cosines between task gradients, and how well each gradient is known."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from figures.names import shortened
from figures.partition.partitioned_tasks import PartitionedTasks
from figures.style import (
    DIVERGING,
    FAINT,
    FULL_WIDTH,
    INK,
    INK_ON_COLOUR,
    MARGIN,
    MUTED,
    MUTED_ON_COLOUR,
    POINTS_PER_INCH,
    SMALLEST_SIZE,
    TEXT_SIZE,
    axes_at,
    headed_figure,
    styled,
    text_width,
)
from training.run_directory import RunDirectory

MOST_TASKS_WITH_VALUES = 16
MOST_TASKS_WITH_COLUMN_NAMES = 48
LONGEST_NAME = 24

# Layout in inches.
CELL = 0.55
SMALLEST_SIDE = 2.2
BARS = 0.75
GAP = 0.12
COLOUR_BAR = 0.11
RIGHT_OF_BARS = 0.42
RIGHT_OF_COLOUR_BAR = 0.45
GROUP_HEADER = 0.28
BRACKET = 0.05
HEADING = 0.09
BAR_AXIS = 0.35
COLUMN_NAME_GAP = 0.22


@styled()
def draw(run: RunDirectory, partition: str) -> Figure:
    """Cosines between task gradients as measured, group by group, with each task's reliability beside its row.

    Cosines closer to zero than two standard errors are marked. The diagonal is one by definition and left out, so that
    the colours span the cosines between different tasks.

    Args:
        run: the run to read.
        partition: name of the partition that orders and divides the tasks.

    Raises:
        InputError: a file is missing, or the two files are about different tasks.
    """
    grouped = PartitionedTasks.read(run, partition)
    order = [task for group in grouped.groups for task in group]
    boundaries = np.cumsum([0, *map(len, grouped.groups)]) - 0.5
    cosine = np.array(grouped.conflicts["cosine"])[np.ix_(order, order)]
    standard_error = np.array(grouped.conflicts["standard_error"])[np.ix_(order, order)]
    reliability = np.array(grouped.conflicts["reliability"])[order]
    uncertain = (np.abs(cosine) < 2 * standard_error) & ~np.eye(len(order), dtype=bool)
    names = [shortened(grouped.tasks[task], LONGEST_NAME) for task in order]

    left = MARGIN + max(text_width(name, TEXT_SIZE) for name in names) + 0.1
    right = GAP + BARS + RIGHT_OF_BARS + COLOUR_BAR + RIGHT_OF_COLOUR_BAR
    side = min(max(CELL * len(order), SMALLEST_SIDE), FULL_WIDTH - left - right)
    cell_points = side / len(order) * POINTS_PER_INCH
    with_values = len(order) <= MOST_TASKS_WITH_VALUES
    name_size = min(TEXT_SIZE, max(0.85 * cell_points, SMALLEST_SIZE))
    slant = 45 if with_values else 90 if len(order) <= MOST_TASKS_WITH_COLUMN_NAMES else None
    bottom = BAR_AXIS
    if slant is not None:
        longest = max(text_width(name, name_size) for name in names)
        bottom = max(bottom, longest * math.sin(math.radians(slant)) + COLUMN_NAME_GAP)

    figure = headed_figure(
        left + side + right,
        bottom + side + GROUP_HEADER,
        f"Cosine between task gradients, grouped by {shortened(partition, LONGEST_NAME)}",
        "Blue: a small step on one task also helps the other. Red: the two tasks pull the weights apart. "
        f"{'Italics' if with_values else 'Dots'}: less than two standard errors from zero. "
        "Reliability: the share of a gradient that is signal and not sampling noise.",
    )
    cells = axes_at(figure, left, bottom, side, side)
    image = _draw_cells(cells, cosine)
    _draw_groups(cells, boundaries, side)
    _name_tasks(cells, names, name_size, cell_points, slant)
    if with_values:
        _write_values(image, cosine, uncertain, min(TEXT_SIZE, cell_points / 3.8))
    else:
        rows, columns = np.nonzero(uncertain)
        cells.scatter(columns, rows, s=(0.22 * cell_points) ** 2, color=MUTED_ON_COLOUR, linewidths=0, rasterized=True)

    bars = axes_at(figure, left + side + GAP, bottom, BARS, side)
    _draw_reliability(bars, reliability, boundaries, with_values)

    scale = axes_at(figure, left + side + GAP + BARS + RIGHT_OF_BARS, bottom, COLOUR_BAR, side)
    figure.colorbar(image, cax=scale, ticks=MaxNLocator(6, symmetric=True))
    scale.set_title("cosine", size=TEXT_SIZE, pad=HEADING * POINTS_PER_INCH)
    return figure


def _draw_cells(cells: Axes, cosine: NDArray[np.float64]) -> AxesImage:
    between = np.ma.array(cosine, mask=np.eye(len(cosine), dtype=bool))
    limit = np.abs(between).max() or 1.0
    cells.set_facecolor(FAINT)
    return cells.imshow(between, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto", interpolation="none")


def _draw_groups(cells: Axes, boundaries: NDArray[np.float64], side: float) -> None:
    """Lines between groups, and above each group its name over a bracket; numbers alone where names would collide."""
    cell = side / (boundaries[-1] - boundaries[0])
    for boundary in boundaries[1:-1]:
        width = min(1.0, 0.25 * cell * POINTS_PER_INCH)
        cells.axhline(boundary, color=INK_ON_COLOUR, linewidth=width)
        cells.axvline(boundary, color=INK_ON_COLOUR, linewidth=width)
    widths = np.diff(boundaries) * cell
    labels = [f"group {number}" for number in range(1, len(widths) + 1)]
    if any(text_width(label, TEXT_SIZE) > width for label, width in zip(labels, widths, strict=True)):
        labels = [label.removeprefix("group ") for label in labels]
        cells.text(-0.01, 1 + HEADING / side, "group", transform=cells.transAxes, ha="right", va="bottom")
    above = cells.get_xaxis_transform()
    for label, start, end, width in zip(labels, boundaries, boundaries[1:], widths, strict=False):
        inset = min(0.03 / cell, 0.2 * (end - start))
        height = 1 + BRACKET / side
        cells.plot([start + inset, end - inset], [height, height], color=INK, transform=above, clip_on=False)
        if text_width(label, TEXT_SIZE) <= width:
            cells.text((start + end) / 2, 1 + HEADING / side, label, transform=above, ha="center", va="bottom")
    cells.set(xlim=(-0.5, boundaries[-1]), ylim=(boundaries[-1], -0.5))


def _name_tasks(cells: Axes, names: list[str], size: float, cell_points: float, slant: int | None) -> None:
    """Name the rows, as many as find room, and the columns at ``slant`` degrees or not at all."""
    step = math.ceil(1.15 * size / cell_points)
    cells.set_yticks(range(0, len(names), step), names[::step], size=size)
    cells.tick_params(length=0 if step == 1 else 2)
    if slant is None:
        cells.set_xticks([])
        cells.set_xlabel("columns in the order of the rows", color=MUTED)
        return
    vertical = "center" if slant == 90 else "top"
    cells.set_xticks(
        range(len(names)), names, size=size, rotation=slant, ha="right", va=vertical, rotation_mode="anchor"
    )


def _write_values(image: AxesImage, cosine: NDArray[np.float64], uncertain: NDArray[np.bool_], size: float) -> None:
    for row, column in zip(*np.nonzero(~np.eye(len(cosine), dtype=bool)), strict=True):
        value, unsure = cosine[row, column], uncertain[row, column]
        luminance = np.dot(np.power(image.to_rgba(value)[:3], 2.2), (0.2126, 0.7152, 0.0722))
        image.axes.text(
            column,
            row,
            f"{value:z.2f}".replace("-", "\N{MINUS SIGN}"),
            size=size,
            color="white" if luminance < 0.3 else MUTED_ON_COLOUR if unsure and luminance > 0.6 else INK_ON_COLOUR,
            style="italic" if unsure else "normal",
            ha="center",
            va="center",
        )


def _draw_reliability(
    bars: Axes, reliability: NDArray[np.float64], boundaries: NDArray[np.float64], with_values: bool
) -> None:
    rows = np.arange(len(reliability))
    thickness = 0.62 if with_values else 1.0
    bars.barh(rows, np.ones(len(rows)), thickness, color=FAINT)
    bars.barh(rows, reliability, thickness, color=MUTED)
    for boundary in boundaries[1:-1]:
        bars.axhline(boundary, color=INK)
    if with_values:
        for row, value in zip(rows, reliability, strict=True):
            bars.text(1.06, float(row), f"{value:.2f}", va="center")
    bars.set_title("reliability", size=TEXT_SIZE, pad=HEADING * POINTS_PER_INCH)
    bars.set(xlim=(0, 1), ylim=(boundaries[-1], -0.5), yticks=[], xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"])
    bars.spines[["left", "right", "top"]].set_visible(False)
