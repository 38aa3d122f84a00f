"""Where a partition cuts: tasks along the first two principal axes of the conflicts, and how sure their group is."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.names import shortened
from figures.partition.flip_rings import draw_rings, ring_diameters, rings_legend
from figures.partition.partitioned_tasks import PartitionedTasks
from figures.point_names import place_names, write_names
from figures.style import (
    FAINT,
    FULL_WIDTH,
    GROUP_COLOURS,
    GROUP_MARKERS,
    MUTED,
    PAPER,
    POINTS_PER_INCH,
    SMALLEST_SIZE,
    TEXT_SIZE,
    axes_at,
    headed_figure,
    styled,
)
from training.errors import InputError
from training.run_directory import RunDirectory

FEW_TASKS = 40
LONGEST_NAME = 24
LONGEST_NAME_AMONG_MANY = 16
NAME_BOX = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.3}

# Layout in inches.
LEFT = 0.6
BOTTOM = 0.45
MAP_WIDTH = 5.2
MAP_HEIGHT = 4.2


@styled()
def draw(run: RunDirectory, partition: str) -> Figure:
    """Tasks in the plane of a PCA partition, with rings for how often resampled data would move each to another group.

    Both axes have one scale, so distances are those between tasks. With two groups that axis 1 separates, a dashed line
    marks the cut.

    Args:
        run: the run to read.
        partition: name of a partition along principal axes.

    Raises:
        InputError: the partition was not made along principal axes, a file is missing, or files do not fit together.
    """
    grouped = PartitionedTasks.read(run, partition)
    if "axes" not in grouped.partition:
        raise InputError(f"partition {partition} has no principal axes to map tasks by; use one such as merit-1d")
    coordinates = np.array(grouped.partition["axes"]["coordinates"])[:, :2]
    flips = np.array(grouped.partition["flip_probability"])
    few = len(grouped.tasks) <= FEW_TASKS
    diameter, size = (6.0, TEXT_SIZE) if few else (3.6, SMALLEST_SIZE)
    names = [shortened(name, LONGEST_NAME if few else LONGEST_NAME_AMONG_MANY) for name in grouped.tasks]

    lower, scale = _window(coordinates)
    rings = ring_diameters(flips, diameter)
    places = place_names(
        names,
        size,
        (coordinates - lower) / scale,
        np.maximum(diameter, rings) / 2,
        (MAP_WIDTH * POINTS_PER_INCH, MAP_HEIGHT * POINTS_PER_INCH),
    )
    sentence = (
        "Tasks that lie close together have similar gradients. The wider the ring, the more often the task changes "
        "group when the calibration data are resampled; the whole partition stays the same in "
        f"{_percent(grouped.partition['same_partition'])} of resamples."
    )
    if nameless := places.count(None):
        sentence += f" {nameless} of {len(names)} names find no room."

    title = f"Tasks along the principal axes of {shortened(partition, LONGEST_NAME)}"
    figure = headed_figure(FULL_WIDTH, BOTTOM + MAP_HEIGHT, title, sentence)
    plane = axes_at(figure, LEFT, BOTTOM, MAP_WIDTH, MAP_HEIGHT)
    upper = lower + scale * POINTS_PER_INCH * np.array([MAP_WIDTH, MAP_HEIGHT])
    plane.set(xlim=(lower[0], upper[0]), ylim=(lower[1], upper[1]))
    first, second, *_ = grouped.partition["axes"]["explained"]
    plane.set_xlabel(f"axis 1 ({_percent(first)} of the variance)")
    plane.set_ylabel(f"axis 2 ({_percent(second)} of the variance)")
    plane.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    plane.axvline(0, color=FAINT, linewidth=0.8, zorder=0)
    for number, group in enumerate(map(list, grouped.groups)):
        colour = GROUP_COLOURS[number % len(GROUP_COLOURS)]
        plane.scatter(
            *coordinates[group].T,
            s=diameter**2,
            color=colour,
            marker=GROUP_MARKERS[number % len(GROUP_MARKERS)],
            linewidths=0,
            label=f"group {number + 1}",
        )
        draw_rings(plane, coordinates, flips, group, diameter, colour)
    _draw_cut(plane, [coordinates[list(group), 0] for group in grouped.groups])
    write_names(plane, names, size, places, lower, scale, NAME_BOX)
    _add_legends(plane, diameter)
    return figure


def _window(coordinates: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Lower left corner of the map, and units per point: one scale for both axes, with room for labels at the rim."""
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    size = np.array([MAP_WIDTH, MAP_HEIGHT]) * POINTS_PER_INCH
    scale = float(((high - low) / (0.78 * size)).max()) or 1.0 / size[0]
    return (low + high - scale * size) / 2, scale


def _draw_cut(plane: Axes, groups: list[NDArray[np.float64]]) -> None:
    if len(groups) != 2:
        return
    left, right = sorted(groups, key=np.mean)
    if left.max() < right.min():
        cut = (left.max() + right.min()) / 2
        plane.axvline(cut, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0.5, label="cut")


def _add_legends(plane: Axes, diameter: float) -> None:
    """Right of the map, groups at its top and rings at its foot."""
    groups = plane.legend(loc="upper left", bbox_to_anchor=(1, 1), handlelength=1.8, handletextpad=1.0, borderpad=0.8)
    plane.add_artist(groups)  # a second legend would replace the first
    rings_legend(plane, diameter)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
