"""How far every model lies from the start, in which direction, and in which parts of the network (Tables 1 and 7)."""

import contextlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from diagnostics.bench import Bench
from diagnostics.curvature.reductions import norm
from diagnostics.model_parts import KINDS, kind_of, layer_of
from diagnostics.result import Arrays, Result
from diagnostics.trajectories import AVERAGE, Course, Trajectories, courses, recorded_snapshots, trajectories
from training.conflicts.gradients import parameter_group
from training.errors import InputError
from training.model.network import StoredWeights

CHUNK = 2**16
"""Entries of each model that are cast to float64 at a time; all models' together stay in the processor's cache."""


class Contraction(BaseModel):
    r"""Both sides of $\|\bar\delta\|^2 = \sum_k w_k \|\delta_k\|^2 - \sum_k w_k \|\delta_k - \bar\delta\|^2$.

    An identity (E.2, E.11 of the paper): it holds for any displacements and weights, whatever training was like.

    Attributes:
        average: squared norm of the branches' weighted average displacement.
        branches: weighted mean of the branches' squared norms.
        spread: weighted mean of their squared distances from the average.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    average: float
    branches: float
    spread: float

    @property
    def residual(self) -> float:
        """Left side minus right side, over ``branches``: rounding and nothing else."""
        return (self.average - (self.branches - self.spread)) / self.branches


class Part(BaseModel):
    """A layer, or all modules of one kind.

    Attributes:
        name: of the layer, or one of :data:`diagnostics.model_parts.KINDS`.
        squared_norms: squared norm of the displacement within the part, by model; ``average`` is the branches'.
        agreement: mean cosine of two branches within the part; None where fewer than two of them moved it.
        cancelled: share of the branches' weighted movement that averaging takes away; None where nothing moved.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    squared_norms: dict[str, float]
    agreement: float | None
    cancelled: float | None


class Displacements(Result):
    """Displacements δ = θ - θ⁰ of all models from the start.

    Attributes:
        norms: ‖δ‖ of each model, by its name, and of ``average``, the branches' weighted average.
        cosines: between the displacements of two models, in the order of ``norms``; None for one that did not move.
        contraction: why an average lies nearer to the start than what is averaged.
        average_error: distance of the merged model from the branches' weighted average, over the largest branch norm.
        rounding: the most that rounding to the merged model's stored dtype is taken to explain of it, in that unit.
        agreement: mean cosine of two branches; None where fewer than two moved.
        cancelled: 1 - Σ|Σ_k w_k δ_k| / Σ Σ_k |w_k δ_k| over coordinates: how much of the branches' movement averaging
            takes away.
        opposed: share of that movement in coordinates where two branches move in opposite directions.
        opposed_coordinates: share of those coordinates among the ones that any branch moved.
        layers: the network's layers and what stands before and after them, in its own order.
        kinds: the same by kind of module.
        courses: distances over training, where a run recorded them.
        paths: the branches' paths in the plane of their principal axes; None where a run did not record them all.
    """

    name: ClassVar[str] = "displacement"
    uses: ClassVar[tuple[str, ...]] = ()

    norms: dict[str, float]
    cosines: tuple[tuple[float | None, ...], ...]
    contraction: Contraction
    average_error: float
    rounding: float
    agreement: float | None
    cancelled: float
    opposed: float
    opposed_coordinates: float
    layers: tuple[Part, ...]
    kinds: tuple[Part, ...]
    courses: tuple[Course, ...]
    paths: Trajectories | None

    @property
    def is_average(self) -> bool:
        """Whether the merged model is the branches' average with the given weights, to within rounding."""
        return self.average_error <= self.rounding

    @property
    def branch_norm(self) -> float:
        """Root of the weighted mean of the branches' squared norms."""
        return math.sqrt(self.contraction.branches)

    def share(self, part: Part, model: str) -> float:
        """Share of a model's squared displacement that lies in ``part``; zero for a model that did not move."""
        total = self.norms[model] ** 2
        return part.squared_norms[model] / total if total > 0 else 0.0


@dataclass(slots=True)
class _Sums:
    """Sums over the coordinates of some parameters, in float64.

    Rows are the models of :attr:`diagnostics.checkpoints.Checkpoints.folders` without the start (branches first), then
    the branches' average.

    Attributes:
        gram: [rows, rows], inner products of displacements.
        spread: [branches], squared distance of each branch from the average.
        off_average: [], squared distance of the merged model from the average.
        movement: [5], see :func:`_movement`.
    """

    gram: Tensor
    spread: Tensor
    off_average: Tensor
    movement: Tensor

    @classmethod
    def of(cls, displacements: Sequence[Tensor], weights: Tensor) -> "_Sums":
        """Sums over one parameter: ``displacements`` of the models, ``weights`` [branches] float64."""
        count = len(weights)
        empty = weights.new_zeros
        sums = cls(empty(len(displacements) + 1, len(displacements) + 1), empty(count), empty(()), empty(5))
        for pieces in zip(*(tensor.reshape(-1).split(CHUNK) for tensor in displacements), strict=True):
            models = torch.stack([piece.double() for piece in pieces])
            average = weights @ models[:count]
            rows = torch.cat([models, average[None]])
            sums.gram += rows @ rows.T
            sums.spread += (models[:count] - average).square().sum(dim=1)
            sums.off_average += (models[count] - average).square().sum()
            sums.movement += _movement(weights[:, None] * models[:count], average)
        return sums

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(
            self.gram + other.gram,
            self.spread + other.spread,
            self.off_average + other.off_average,
            self.movement + other.movement,
        )


def _movement(shares: Tensor, average: Tensor) -> Tensor:
    """What averaging does to the branches' movement, summed over coordinates.

    Args:
        shares: [branches, n], each branch's displacement times its weight.
        average: [n], their sum.

    Returns:
        Movement Σ_k |w_k δ_k|, what is left of it |Σ_k w_k δ_k|, movement where two branches are opposed, how many
        such coordinates there are, and how many that any branch moved.
    """
    movement = shares.abs().sum(dim=0)
    opposed = ((shares.amax(dim=0) > 0) & (shares.amin(dim=0) < 0)).to(movement.dtype)
    moved = (movement > 0).sum()
    return torch.stack([movement.sum(), average.abs().sum(), movement @ opposed, opposed.sum(), moved])


def expected_tokens(bench: Bench) -> int:
    """None: everything is read from the checkpoints."""
    return 0


def measure(bench: Bench) -> tuple[Displacements, Arrays]:
    """Stream all checkpoints tensor by tensor and sum.

    Raises:
        InputError: no branch differs from the start.
    """
    checkpoints = bench.checkpoints
    models = tuple(name for name in checkpoints.folders if name != "start")
    groups, rounding = _sums_by_group(bench, models)
    total = _total(groups.values())
    rows = (*models, AVERAGE)
    gram = total.gram.cpu().numpy()
    squares = np.diag(gram)
    norms = dict(zip(rows, np.sqrt(squares).tolist(), strict=True))
    longest = max(norms[name] for name in checkpoints.branch_names)
    if longest == 0:
        raise InputError(f"no branch differs from {checkpoints.start}; give branches that were trained from it")
    weights = np.array(checkpoints.weights)
    movement, left, opposed, opposed_coordinates, moved = total.movement.tolist()
    branches = len(weights)
    recorded = recorded_snapshots(checkpoints)
    result = Displacements(
        norms=norms,
        cosines=tuple(tuple(_cosine(gram, i, j) for j in range(len(rows))) for i in range(len(rows))),
        contraction=Contraction(
            average=squares[-1],
            branches=float(weights @ squares[:branches]),
            spread=float(weights @ total.spread.cpu().numpy()),
        ),
        average_error=math.sqrt(total.off_average.item()) / longest,
        rounding=rounding / longest,
        agreement=_agreement(gram, branches),
        cancelled=1 - left / movement,
        opposed=opposed / movement,
        opposed_coordinates=opposed_coordinates / moved,
        layers=_parts(groups, layer_of, rows, branches),
        kinds=tuple(sorted(_parts(groups, kind_of, rows, branches), key=lambda part: KINDS.index(part.name))),
        courses=courses(recorded),
        paths=trajectories(recorded, checkpoints.branch_names),
        cost=bench.meter.cost(),
    )
    arrays: Arrays = {
        "models": np.array(rows),
        "groups": np.array(list(groups)),
        "gram": torch.stack([sums.gram for sums in groups.values()]).cpu().numpy(),
        "spread": torch.stack([sums.spread for sums in groups.values()]).cpu().numpy(),
        "off_average": torch.stack([sums.off_average for sums in groups.values()]).cpu().numpy(),
        "movement": torch.stack([sums.movement for sums in groups.values()]).cpu().numpy(),
    }
    return result, arrays


def _sums_by_group(bench: Bench, models: Sequence[str]) -> tuple[dict[str, _Sums], float]:
    """Sums of each parameter group, and the largest distance that rounding the merged model may have moved it by.

    One rounding to a dtype moves a tensor by less than half its epsilon times its norm. Tools that sum in the stored
    dtype round several times, but not all in one direction: a whole epsilon covers them.
    """
    network = bench.network
    weights = torch.tensor(bench.checkpoints.weights, dtype=torch.float64, device=network.model.device)
    streams = [network.combination({name: 1.0, "start": -1.0}) for name in models]
    groups: dict[str, _Sums] = {}
    rounding = 0.0
    with contextlib.closing(StoredWeights(bench.checkpoints.merged)) as merged, torch.no_grad():
        for tensors in zip(*streams, strict=True):
            name = tensors[0][0]
            sums = _Sums.of([tensor for _, tensor in tensors], weights)
            group = parameter_group(name)
            groups[group] = groups[group] + sums if group in groups else sums
            stored = merged.tensor(name)
            rounding += torch.finfo(stored.dtype).eps ** 2 * norm(stored.view(-1)) ** 2
    return groups, math.sqrt(rounding)


def _total(sums: Iterable[_Sums]) -> _Sums:
    first, *others = sums
    return sum(others, first)


def _cosine(gram: NDArray[np.float64], one: int, other: int) -> float | None:
    scale = math.sqrt(gram[one, one] * gram[other, other])
    return float(gram[one, other] / scale) if scale > 0 else None


def _agreement(gram: NDArray[np.float64], branches: int) -> float | None:
    """Mean cosine over pairs of branches that both moved."""
    cosines = [_cosine(gram, one, other) for one, other in combinations(range(branches), 2)]
    known = [cosine for cosine in cosines if cosine is not None]
    return float(np.mean(known)) if known else None


def _parts(
    groups: dict[str, _Sums], part_of: Callable[[str], str], rows: Sequence[str], branches: int
) -> tuple[Part, ...]:
    """The groups' sums, added up within each part, in the order in which parts appear."""
    members: dict[str, list[_Sums]] = defaultdict(list)
    for group, sums in groups.items():
        members[part_of(group)].append(sums)
    parts = []
    for name, its in members.items():
        total = _total(its)
        gram = total.gram.cpu().numpy()
        movement, left = total.movement[:2].tolist()
        parts.append(
            Part(
                name=name,
                squared_norms=dict(zip(rows, np.diag(gram).tolist(), strict=True)),
                agreement=_agreement(gram, branches),
                cancelled=1 - left / movement if movement > 0 else None,
            )
        )
    return tuple(parts)
