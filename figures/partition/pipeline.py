"""The way from a mixture to one model: split, tune alone, merge once; joint training below (Figure 1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from figures.names import shortened
from figures.partition.partitioned_tasks import PartitionedTasks
from figures.style import (
    FULL_WIDTH,
    GROUP_COLOURS,
    INK,
    LINE,
    MARGIN,
    MUTED,
    PAPER,
    POINTS_PER_INCH,
    TEXT_SIZE,
    axes_at,
    headed_figure,
    styled,
)
from training.errors import MissingInput
from training.run_directory import BranchDirectory, RunDirectory, read_json

JOINT = "joint"
MOST_NAMES = 4
LONGEST_NAME = 25

# Layout in inches: left sides and widths of the columns, and heights.
COLUMNS = ((MARGIN, 1.15), (1.85, 1.75), (3.98, 1.25), (5.75, 1.25))
LINE_HEIGHT = 1.35 * TEXT_SIZE / POINTS_PER_INCH
PADDING = 0.09
APART = 0.14
BELOW = 0.32
HEADS = 0.25

SENTENCE = (
    "Tasks are split where their gradients conflict, each group is tuned alone from the same start, and the weights "
    "are averaged once. Below, the same tokens in one training. Loss: nats per answer token on the test items, with "
    "95 % intervals over them."
)


@dataclass(frozen=True, slots=True)
class _Branch:
    tokens: int
    steps: int
    seconds: float
    weight: float


@styled()
def draw(run: RunDirectory, partition: str) -> Figure:
    """Boxes for the mixture, the groups, their branches and the merged model of the partition's own arm.

    Raises:
        MissingInput: the run has no finished arm of the partition's name, or no joint one.
        InputError: files do not fit together.
    """
    grouped = PartitionedTasks.read(run, partition)
    rows = {row["arm"]: row for row in read_json(run.summary(".json"))["arms"]}
    if missing := [name for name in (partition, JOINT) if name not in rows]:
        raise MissingInput(f"{run.root} has no finished arm {missing[0]}; run it, and joint beside it")
    branches, (joint,) = _branches(run, partition), _branches(run, JOINT)
    groups = [_listed([grouped.tasks[task] for task in group]) for group in grouped.groups]
    heights = [_height(max(len(lines), 4)) for lines in groups]
    above = sum(heights) + APART * (len(heights) - 1)
    joint_height = _height(3)
    height = MARGIN + joint_height + BELOW + above + HEADS
    figure = headed_figure(FULL_WIDTH, height, f"From a mixture to one model: {partition} and joint", SENTENCE)
    plane = axes_at(figure, 0, 0, FULL_WIDTH, height)
    plane.set(xlim=(0, FULL_WIDTH), ylim=(0, height))
    plane.axis("off")
    heads = ("mixture", "groups", "trained alone", "merged once")
    for (left, _), head in zip(COLUMNS, heads, strict=True):
        plane.text(left, height - 0.12, head, color=MUTED, va="center")

    middle = MARGIN + joint_height + BELOW + above / 2
    tasks = f"{len(grouped.tasks)} tasks"
    answers = sum(grouped.conflicts["answer_tokens"])
    measured = [f"gradients of {answers:,}", "answer tokens", "at the start"]
    _box(plane, 0, middle, _height(1 + len(measured)), [tasks, *measured], INK)
    _box(plane, 3, middle, _height(4), _model(rows[partition]), INK)
    top = height - HEADS
    for number, (lines, own, branch) in enumerate(zip(groups, heights, branches, strict=True)):
        centre = top - own / 2
        colour = GROUP_COLOURS[number % len(GROUP_COLOURS)]
        _box(plane, 1, centre, own, lines, colour)
        _box(plane, 2, centre, _height(4), [*_training(branch), f"weight {branch.weight:.2f}"], colour)
        _arrow(plane, 0, middle, centre, colour)
        _arrow(plane, 1, centre, centre, colour)
        _arrow(plane, 2, centre, middle, colour)
        top -= own + APART

    below = MARGIN + joint_height / 2
    plane.axhline(MARGIN + joint_height + BELOW / 2, color=LINE, linewidth=0.6, linestyle=(0, (4, 3)))
    _box(plane, 0, below, _height(1), [tasks], INK)
    _box(plane, 2, below, joint_height, _training(joint), MUTED)
    _box(plane, 3, below, joint_height, _model(rows[JOINT]), INK)
    _arrow(plane, 0, below, below, MUTED, over=2)
    _arrow(plane, 2, below, below, MUTED)
    return figure


def _branches(run: RunDirectory, arm: str) -> list[_Branch]:
    made = read_json(run.arm(arm) / "arm.json")
    done = [read_json(BranchDirectory(run.branch(branch)).done) for branch in made["branches"]]
    weights = made["weights"] or [1 / len(done)] * len(done)
    return [
        _Branch(own["tokens"], own["steps"], own["seconds"], weight) for own, weight in zip(done, weights, strict=True)
    ]


def _listed(names: Sequence[str]) -> list[str]:
    """Names of a group's tasks, one per line; where they are many, the first ones and how many more there are."""
    if len(names) <= MOST_NAMES:
        return [shortened(name, LONGEST_NAME) for name in names]
    shown = [shortened(name, LONGEST_NAME) for name in names[: MOST_NAMES - 1]]
    return [*shown, f"and {len(names) - len(shown)} more"]


def _training(branch: _Branch) -> list[str]:
    return [f"{branch.tokens:,} tokens", f"{branch.steps:,} steps", f"{branch.seconds:,.0f} s"]


def _model(row: dict[str, Any]) -> list[str]:
    loss = row["loss"]
    return [row["arm"], f"loss {loss['value']:.3f}", f"[{loss['low']:.3f}, {loss['high']:.3f}]"]


def _height(lines: int) -> float:
    return lines * LINE_HEIGHT + 2 * PADDING


def _box(plane: Axes, column: int, centre: float, height: float, lines: Sequence[str], colour: str) -> None:
    left, width = COLUMNS[column]
    box = FancyBboxPatch(
        (left, centre - height / 2),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.05",
        facecolor=PAPER,
        edgecolor=colour,
        linewidth=1.0,
    )
    plane.add_patch(box)
    plane.text(left + PADDING, centre, "\n".join(lines), va="center", linespacing=1.35, size=TEXT_SIZE)


def _arrow(plane: Axes, column: int, start: float, end: float, colour: str, over: int | None = None) -> None:
    """From the right side of a column to the left side of the next, or of the column ``over``."""
    left, width = COLUMNS[column]
    ends = (left + width + 0.03, start), (COLUMNS[column + 1 if over is None else over][0] - 0.03, end)
    plane.annotate("", ends[1], ends[0], arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1.0})
