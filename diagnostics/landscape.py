"""The loss around the merged model as a surface over a plane (Figure 2)."""

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from diagnostics.bench import Bench
from diagnostics.noise import Noise, noise_seeds, noised_weights
from diagnostics.planes import PrincipalPlane, displacement_gram, grid, lines_through_centre
from diagnostics.probe import Probe
from diagnostics.resampling import Resamples, interval_of
from diagnostics.result import Arrays, Result
from training.errors import InputError
from training.evaluation.noise import Interval

MARGIN = 0.25
"""How far the principal plane's grid goes beyond the checkpoints, over their larger extent."""

RADIUS = 0.1
"""How far the random plane's grid goes from the merged model: along an axis, each row of a weight matrix moves by at
most this share of its norm."""

Plane = Literal["pca", "random"]


class Minimum(BaseModel):
    """The lowest point of a grid.

    Attributes:
        position: coordinates along both axes.
        loss: in nats per answer token.
        minus_merged: minus the merged model's own loss on the same items. The lowest of many noisy numbers is too low,
            and the interval, for this point alone, does not cover that choice.
        at_edge: whether it lies on the rim of the grid, so that there may be lower points outside.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    position: tuple[float, float]
    loss: Interval
    minus_merged: Interval
    at_edge: bool


class Surface(BaseModel):
    """Loss over a square grid.

    Attributes:
        plane: ``pca``, through the start along the top principal axes of all displacements from it (not centred), or
            ``random``, around the merged model along two random filter-normalised directions.
        first: coordinates along axis 1.
        second: coordinates along axis 2.
        losses: one row per coordinate along axis 2, in nats per answer token; None where infinite or NaN.
        positions: coordinates of the checkpoints, projected into the plane; in the random plane of the merged one only.
        inside: share of each checkpoint's squared displacement from the start that lies in the plane.
        explained: share of all squared displacements along each axis; None for the random plane.
        unit: Euclidean length in weight space of one unit of the coordinates.
        minimum: of the grid.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    plane: Plane
    first: tuple[float, ...]
    second: tuple[float, ...]
    losses: tuple[tuple[float | None, ...], ...]
    positions: dict[str, tuple[float, float]]
    inside: dict[str, float]
    explained: tuple[float, float] | None
    unit: float
    minimum: Minimum

    @property
    def overflowed(self) -> int:
        """Points of the grid whose loss is infinite or NaN."""
        return sum(loss is None for row in self.losses for loss in row)


class Landscape(Result):
    """Loss surfaces.

    Attributes:
        items: how many were measured.
        answer_tokens: of all of them.
        merged: the merged model's own loss on these items, in nats per answer token.
        surfaces: in the order of the settings.
    """

    name: ClassVar[str] = "landscape"
    uses: ClassVar[tuple[str, ...]] = ("probe", "landscape")

    items: int
    answer_tokens: int
    merged: Interval
    surfaces: tuple[Surface, ...]


def expected_tokens(bench: Bench) -> int:
    """Forward tokens that :func:`measure` takes."""
    planes, points = _planes(bench), bench.settings.landscape.points
    # The centre of an odd grid around the merged model is that model, which is measured once for both planes.
    evaluations = 1 + len(planes) * points**2 - ("random" in planes and points % 2)
    return evaluations * _probe(bench).input_tokens


def measure(bench: Bench) -> tuple[Landscape, Arrays]:
    """Evaluate every point of every grid.

    Raises:
        InputError: no plane, checkpoints that span none, or a surface without a single finite loss.
    """
    planes, probe = _planes(bench), _probe(bench)
    resamples = bench.resamples_of(probe.task, probe.tokens)
    merged = bench.losses_at({"merged": 1.0}, probe)
    surfaces = []
    arrays: Arrays = {"merged": merged, "task": probe.task, "tokens": probe.tokens}
    for plane in planes:
        surface, sums = SURFACES[plane](bench, probe, resamples, merged)
        surfaces.append(surface)
        arrays |= {f"{plane}-first": np.array(surface.first), f"{plane}-second": np.array(surface.second)}
        arrays[f"{plane}-losses"] = sums
    result = Landscape(
        items=len(probe.examples),
        answer_tokens=int(probe.tokens.sum()),
        merged=interval_of(resamples.mean(merged).item(), resamples.means(merged)),
        surfaces=tuple(surfaces),
        cost=bench.meter.cost(),
    )
    return result, arrays


def _planes(bench: Bench) -> tuple[Plane, ...]:
    if not bench.settings.landscape.planes:
        raise InputError("landscape.planes is empty; name pca, random or both")
    return tuple(dict.fromkeys(bench.settings.landscape.planes))


def _probe(bench: Bench) -> Probe:
    return bench.probe.first(bench.settings.landscape.per_task, bench.settings.probe.batch_tokens)


Sums = NDArray[np.float64]
"""Nats summed over each item's answer tokens."""


def _pca(bench: Bench, probe: Probe, resamples: Resamples, merged: Sums) -> tuple[Surface, Sums]:
    names = [name for name in bench.checkpoints.folders if name != "start"]
    plane = PrincipalPlane.of(names, displacement_gram(bench.network, names))
    first, second = grid(np.vstack([np.zeros(2), plane.coordinates]), bench.settings.landscape.points, MARGIN)
    sums = np.empty((len(second), len(first), len(probe.examples)))
    for row, y in enumerate(second):
        for column, x in enumerate(first):
            bench.network.move_to(plane.point(x, y))
            sums[row, column] = bench.losses_here(probe)
    positions = {"start": (0.0, 0.0)} | {
        name: (x, y) for name, (x, y) in zip(names, plane.coordinates.tolist(), strict=True)
    }
    surface = Surface(
        plane="pca",
        first=tuple(first.tolist()),
        second=tuple(second.tolist()),
        losses=_shown(resamples.mean(sums)),
        positions=positions,
        inside=dict(zip(names, plane.inside.tolist(), strict=True)),
        explained=(float(plane.explained[0]), float(plane.explained[1])),
        unit=1.0,
        minimum=_minimum(first, second, sums, resamples, merged),
    )
    return surface, sums


def _random(bench: Bench, probe: Probe, resamples: Resamples, merged: Sums) -> tuple[Surface, Sums]:
    points, network = bench.settings.landscape.points, bench.network
    seeds = [noise_seeds(bench, "landscape axis", axis) for axis in (0, 1)]
    coordinates = np.linspace(-RADIUS, RADIUS, points)
    sums = np.empty((points, points, len(probe.examples)))
    sums[points // 2, points // 2] = merged  # the centre, where there is one; an even grid measures this point below
    for line in lines_through_centre(points):
        network.move_to({"merged": 1.0})
        row, column, _ = line[0]
        network.perturb(_both(coordinates[column], coordinates[row], seeds))
        for row, column, ratio in line:
            if ratio != 1:
                network.stretch("merged", ratio)
            sums[row, column] = bench.losses_here(probe)
    surface = Surface(
        plane="random",
        first=tuple(coordinates.tolist()),
        second=tuple(coordinates.tolist()),
        losses=_shown(resamples.mean(sums)),
        positions={"merged": (0.0, 0.0)},
        inside={},
        explained=None,
        unit=noised_weights(bench, "merged", "filter-normalised")[0],
        minimum=_minimum(coordinates, coordinates, sums, resamples, merged),
    )
    return surface, sums


SURFACES: dict[Plane, Callable[[Bench, Probe, Resamples, Sums], tuple[Surface, Sums]]] = {
    "pca": _pca,
    "random": _random,
}


def _both(x: float, y: float, seeds: list[dict[str, int]]) -> Callable[[str, Tensor], Tensor | None]:
    """Noise of two draws at once, so that both take the rows' norms from the model without noise."""
    one, other = (
        Noise("filter-normalised", scale, own) for scale, own in zip((float(x), float(y)), seeds, strict=True)
    )

    def noise(name: str, parameter: Tensor) -> Tensor | None:
        along_first, along_second = one(name, parameter), other(name, parameter)
        return None if along_first is None or along_second is None else along_first.add_(along_second)

    return noise


def _shown(losses: NDArray[np.float64]) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(loss if math.isfinite(loss) else None for loss in row) for row in losses.tolist())


def _minimum(
    first: NDArray[np.float64], second: NDArray[np.float64], sums: Sums, resamples: Resamples, merged: Sums
) -> Minimum:
    losses = resamples.mean(sums)
    losses = np.where(np.isfinite(losses), losses, np.inf)
    row, column = (int(index) for index in np.unravel_index(losses.argmin(), losses.shape))
    if not math.isfinite(losses[row, column]):
        raise InputError("no point of a loss surface has a finite loss; check the checkpoints and the examples")
    pair = np.stack([sums[row, column], merged])
    return Minimum(
        position=(float(first[column]), float(second[row])),
        loss=resamples.interval(pair, lambda means: means[0]),
        minus_merged=resamples.interval(pair, lambda means: means[0] - means[1]),
        at_edge=row in (0, len(second) - 1) or column in (0, len(first) - 1),
    )
