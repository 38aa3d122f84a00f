"""Neighbourhoods of task gradients: t-SNE beside the principal axes (Figure 5)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.names import shortened
from figures.partition.flip_rings import draw_rings, ring_diameters, rings_legend
from figures.partition.partitioned_tasks import PartitionedTasks
from figures.partition.task_kinds import task_kinds
from figures.point_names import place_names, write_names
from figures.style import (
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
from training.errors import MissingInput
from training.run_directory import RunDirectory

SEED = 0
FEWEST_TASKS = 4
"""Neighbourhoods of fewer tell nothing."""
LARGEST_PERPLEXITY = 30.0

FEW_TASKS = 20
LONGEST_NAME, LONGEST_NAME_AMONG_MANY = 20, 12
LONGEST_KIND = 18
NAME_BOX = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.2}

# Layout in inches.
LEFT = 0.15
BOTTOM = 0.3
SIDE = 2.72
ACROSS = 0.16


@styled()
def draw(run: RunDirectory, partition: str) -> Figure:
    """Tasks by t-SNE of the distances 1 - cosine, and along the two principal axes of the same cosines.

    Raises:
        MissingInput: too few tasks, or a file is missing.
        InputError: files do not fit together.
    """
    grouped = PartitionedTasks.read(run, partition)
    tasks = grouped.tasks
    if len(tasks) < FEWEST_TASKS:
        raise MissingInput(
            f"{len(tasks)} tasks have no neighbourhoods to draw; run a mixture of {FEWEST_TASKS} or more"
        )
    cosine = np.array(grouped.conflicts["cosine"])
    flips = np.array(grouped.partition.get("flip_probability") or np.zeros(len(tasks)))
    kinds = task_kinds(run, tasks)
    members = _by_kind(kinds) if kinds else {f"group {k}": list(its) for k, its in enumerate(grouped.groups, start=1)}
    perplexity = fitting_perplexity(len(tasks))
    sentence = (
        "Each point is a task's mean gradient at the start. Left: t-SNE of the distances 1 − cosine (perplexity "
        f"{perplexity:.0f}); neighbours are alike, distances between clusters mean nothing. Right: the first two "
        f"principal axes of the same cosines. The wider the ring, the more often resampling moves the task to another "
        f"group of {shortened(partition, LONGEST_NAME)}. Colours: "
    )
    sentence += "kinds of task." if kinds else "groups, for the mixture does not say every task's kind."
    figure = headed_figure(FULL_WIDTH, BOTTOM + SIDE + 0.25, "Which tasks' gradients are alike", sentence)
    places, explained = principal_plane(cosine)
    panels = (
        ("t-SNE", embedded(cosine, perplexity), ("", "")),
        (
            "principal axes",
            places,
            tuple(f"axis {k} ({100 * s:.0f} % of the variance)" for k, s in enumerate(explained, 1)),
        ),
    )
    for number, (title, coordinates, (across, up)) in enumerate(panels):
        axes = axes_at(figure, LEFT + number * (SIDE + ACROSS), BOTTOM, SIDE, SIDE)
        _draw_tasks(axes, coordinates, members, flips, tasks)
        axes.set_title(title, loc="left", size="medium", color=MUTED)
        axes.set(xticks=[], yticks=[])
        axes.set_xlabel(across)
        axes.set_ylabel(up, labelpad=1)
    _add_legends(axes, _diameter(tasks), bool(flips.any()))
    return figure


def fitting_perplexity(tasks: int) -> float:
    """Neighbours that t-SNE looks at: a third of the others, at least 2 and at most as many as is customary.

    >>> fitting_perplexity(4), fitting_perplexity(31), fitting_perplexity(136)
    (2.0, 10.0, 30.0)
    """
    return min(max(2.0, (tasks - 1) / 3), LARGEST_PERPLEXITY)


def embedded(cosine: NDArray[np.float64], perplexity: float) -> NDArray[np.float64]:
    """Places [n, 2] of tasks by t-SNE of the distances 1 - cosine, from the principal axes as the start."""
    from sklearn.manifold import TSNE  # a second that other pictures need not wait

    distances = np.clip(1 - (cosine + cosine.T) / 2, 0, None)
    np.fill_diagonal(distances, 0)
    places, _ = principal_plane(cosine)
    spread = places[:, 0].std() or 1.0
    tsne = TSNE(
        metric="precomputed", init=1e-4 * places / spread, perplexity=perplexity, random_state=SEED, method="exact"
    )
    return tsne.fit_transform(distances).astype(np.float64)


def principal_plane(cosine: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places [n, 2] along the two leading axes of the double-centred cosines, and their shares of the variance."""
    centred = cosine - cosine.mean(axis=0)
    centred = centred - centred.mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh((centred + centred.T) / 2)
    leading, vectors = np.maximum(values[:-3:-1], 0), vectors[:, :-3:-1]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), [0, 1]])
    return vectors * np.sqrt(leading), leading / (np.maximum(values, 0).sum() or 1.0)


def _by_kind(kinds: Sequence[str]) -> dict[str, list[int]]:
    members: dict[str, list[int]] = {}
    for task, kind in enumerate(kinds):
        members.setdefault(kind, []).append(task)
    return dict(sorted(members.items()))


def _diameter(tasks: Sequence[str]) -> float:
    return 5.0 if len(tasks) <= FEW_TASKS else 3.2


def _draw_tasks(
    axes: Axes,
    coordinates: NDArray[np.float64],
    members: dict[str, list[int]],
    flips: NDArray[np.float64],
    tasks: Sequence[str],
) -> None:
    few = len(tasks) <= FEW_TASKS
    diameter = _diameter(tasks)
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    scale = float((high - low).max() / (0.74 * SIDE * POINTS_PER_INCH)) or 1.0
    lower = (low + high - scale * SIDE * POINTS_PER_INCH) / 2
    upper = lower + scale * SIDE * POINTS_PER_INCH
    axes.set(xlim=(lower[0], upper[0]), ylim=(lower[1], upper[1]))
    for number, (name, its) in enumerate(members.items()):
        colour = GROUP_COLOURS[number % len(GROUP_COLOURS)]
        marker = GROUP_MARKERS[number % len(GROUP_MARKERS)]
        label = shortened(name, LONGEST_KIND)
        axes.scatter(*coordinates[its].T, s=diameter**2, color=colour, marker=marker, linewidths=0, label=label)
        draw_rings(axes, coordinates, flips, its, diameter, colour)
    size = TEXT_SIZE - 1 if few else SMALLEST_SIZE
    names = [shortened(name, LONGEST_NAME if few else LONGEST_NAME_AMONG_MANY) for name in tasks]
    places = place_names(
        names,
        size,
        (coordinates - lower) / scale,
        np.maximum(diameter, ring_diameters(flips, diameter) * (flips > 0)) / 2,
        (SIDE * POINTS_PER_INCH, SIDE * POINTS_PER_INCH),
    )
    write_names(axes, names, size, places, lower, scale, NAME_BOX)


def _add_legends(axes: Axes, diameter: float, with_rings: bool) -> None:
    """Right of the panels: kinds or groups at the top, rings at the foot where a task has one."""
    groups = axes.legend(loc="upper left", bbox_to_anchor=(1, 1), handlelength=1.2, handletextpad=0.5, borderpad=0.4)
    if with_rings:
        axes.add_artist(groups)  # a second legend would replace the first
        rings_legend(axes, diameter)
