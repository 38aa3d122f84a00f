"""Where models were over training, from the sketches that branches record: distances, and paths (Figure 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from diagnostics.checkpoints import Checkpoints
from merit_theory.conflict import gram_matrix

AVERAGE = "average"
"""Name of the branches' weighted average, which is computed here and stored nowhere."""


@dataclass(frozen=True, slots=True)
class Snapshots:
    """A model's displacements from the start at some steps.

    Attributes:
        steps: [n] int64, of the optimiser.
        norms: [n] float64.
        sketches: [n, size] float64, which keep inner products.
    """

    steps: NDArray[np.int64]
    norms: NDArray[np.float64]
    sketches: NDArray[np.float64]


class Course(BaseModel):
    """Distance from the start over training.

    Attributes:
        model: as in :attr:`diagnostics.displacement.Displacements.norms`; ``average`` is what the branches would
            average to at that step.
        steps: optimiser steps.
        norms: distances; those of ``average`` are estimated from sketches, the others are exact.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    steps: tuple[int, ...]
    norms: tuple[float, ...]


class Trajectory(BaseModel):
    """Where a model was in the plane of the paths; the start is its origin.

    Attributes:
        model: as in :class:`Course`.
        steps: optimiser steps.
        points: coordinates along both axes at each step, in units of the weights.
        inside: share of the squared displacement that lies in the plane at each step; zero where nothing has moved.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    steps: tuple[int, ...]
    points: tuple[tuple[float, float], ...]
    inside: tuple[float, ...]


class Trajectories(BaseModel):
    """Paths through the plane of the start that holds most of the branches' recorded displacements.

    Attributes:
        explained: share of the branches' squared displacements, over all their snapshots, along each axis.
        models: the branches, then their average and joint training where they were recorded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    explained: tuple[float, float]
    models: tuple[Trajectory, ...]


def recorded_snapshots(checkpoints: Checkpoints) -> dict[str, Snapshots]:
    """What a run recorded of each model, and of the branches' average where every branch has some."""
    recorded: dict[str, Snapshots] = {}
    for name, directory in (checkpoints.trajectories or {}).items():
        if directory.displacement.is_file():
            with np.load(directory.displacement) as file:
                recorded[name] = Snapshots(file["steps"], file["norms"], file["sketches"].astype(np.float64))
    if all(name in recorded for name in checkpoints.branch_names):
        recorded[AVERAGE] = _average([recorded[name] for name in checkpoints.branch_names], checkpoints.weights)
    return recorded


def _average(branches: Sequence[Snapshots], weights: Sequence[float]) -> Snapshots:
    """The branches' average: a branch that has ended stays where it is, as in the merge itself."""
    steps, sketches = [], []
    for step in sorted({int(step) for branch in branches for step in branch.steps}):
        at = [np.flatnonzero(branch.steps == min(step, branch.steps[-1])) for branch in branches]
        if all(len(places) for places in at):
            rows = [branch.sketches[places[0]] for branch, places in zip(branches, at, strict=True)]
            steps.append(step)
            sketches.append(np.average(rows, axis=0, weights=weights))
    stacked = np.array(sketches).reshape(len(steps), branches[0].sketches.shape[1])
    return Snapshots(np.array(steps, dtype=np.int64), np.linalg.norm(stacked, axis=1), stacked)


def courses(recorded: Mapping[str, Snapshots]) -> tuple[Course, ...]:
    """Distances from the start."""
    return tuple(
        Course(model=name, steps=tuple(own.steps.tolist()), norms=tuple(own.norms.tolist()))
        for name, own in recorded.items()
    )


def trajectories(recorded: Mapping[str, Snapshots], branches: Sequence[str]) -> Trajectories | None:
    """Coordinates in the plane of the branches' two leading principal axes, which are not centred.

    The plane thereby passes through the start. An axis points where its largest coordinate of a branch is positive.

    Returns:
        None where a branch was not recorded, or none of them had moved.
    """
    if not all(name in recorded for name in branches):
        return None
    rows = np.concatenate([recorded[name].sketches for name in branches])
    values, vectors = np.linalg.eigh(gram_matrix(rows))
    total = np.maximum(values, 0).sum()
    if not total > 0:
        return None
    order = np.argsort(-values)[:2]
    lengths, vectors = np.sqrt(np.maximum(values[order], 0)), vectors[:, order]
    vectors = vectors * np.where(vectors[np.abs(vectors).argmax(axis=0), range(len(order))] < 0, -1.0, 1.0)
    told_apart = lengths > np.finfo(np.float32).eps * lengths[0]
    axes = np.zeros((rows.shape[1], 2))
    axes[:, : len(order)] = rows.T @ (vectors / np.where(told_apart, lengths, np.inf))
    explained = np.zeros(2)
    explained[: len(order)] = np.where(told_apart, lengths**2 / total, 0.0)
    named = [*branches, *(name for name in recorded if name not in branches)]
    return Trajectories(
        explained=(float(explained[0]), float(explained[1])),
        models=tuple(_path(name, recorded[name], axes) for name in named),
    )


def _path(model: str, snapshots: Snapshots, axes: NDArray[np.float64]) -> Trajectory:
    points = snapshots.sketches @ axes
    squares = (snapshots.sketches**2).sum(axis=1)
    inside = np.divide((points**2).sum(axis=1), squares, out=np.zeros(len(points)), where=squares > 0)
    return Trajectory(
        model=model,
        steps=tuple(snapshots.steps.tolist()),
        points=tuple((float(x), float(y)) for x, y in points),
        inside=tuple(np.minimum(inside, 1.0).tolist()),
    )
