"""How much the loss rises when Gaussian noise is added to the weights (appendix B, Figure 4)."""

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from diagnostics.bench import Bench
from diagnostics.noise import Noise, NoiseKind, noise_seeds, noised_weights
from diagnostics.probe import Probe
from diagnostics.resampling import Resamples, interval_of
from diagnostics.result import Arrays, Result
from training.errors import InputError
from training.evaluation.noise import Interval

COMPARED = ("merged", "joint", "joint-equal-steps")
"""Models that noise is added to, those of them that there are."""


class Curve(BaseModel):
    """Rise of one model's loss under one kind of noise.

    Attributes:
        model: whose.
        increases: loss with noise minus the model's own loss, mean over draws of noise, in nats per answer token; one
            per σ, None where a loss was infinite or NaN.
        overflowed: how many of the losses (draws times items) were, for each σ.
        area: under the increase from σ = 0 to :attr:`Grid.reach` by the trapezoidal rule, in nats per answer token
            times σ; None without a reach.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    increases: tuple[Interval | None, ...]
    overflowed: tuple[int, ...]
    area: Interval | None


class Comparison(BaseModel):
    """The merged model's curve minus another's, paired: same noise, same items.

    Attributes:
        other: the other model.
        differences: of the increases, one per σ; None where either is.
        area: of the areas; None without a reach.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    other: str
    differences: tuple[Interval | None, ...]
    area: Interval | None

    @property
    def verdict(self) -> Literal["flatter", "sharper", "not separated", "overflowed"]:
        """What the areas say of the merged model beside the other."""
        if self.area is None:
            return "overflowed"
        if not self.area.separates_from_zero:
            return "not separated"
        return "flatter" if self.area.high < 0 else "sharper"


class Grid(BaseModel):
    """Everything about one kind of noise.

    Attributes:
        kind: ``isotropic`` or ``filter-normalised``, as in :class:`diagnostics.noise.Noise`.
        sigmas: relative sizes of the noise, rising; see :class:`Flatness`.
        reach: the largest σ up to which every loss of every model is finite; None if there is none.
        curves: one per model, merged first.
        comparisons: one per other model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: NoiseKind
    sigmas: tuple[float, ...]
    reach: float | None
    curves: tuple[Curve, ...]
    comparisons: tuple[Comparison, ...]


class Flatness(Result):
    """Rise of the loss under noise on the weights that were trained.

    A draw of noise is the same for every model, kind and σ up to its scale. Isotropic noise has standard deviation σ
    times ``root_mean_square``, the same for every model and weight; filter-normalised noise has σ times each row's own
    norm. Intervals cover both draws of noise and items, resampled jointly.

    Attributes:
        items: how many were measured.
        answer_tokens: of all of them.
        draws: of noise.
        root_mean_square: of the start's weights that were trained.
        losses: of each model without noise, on the same items, in nats per answer token.
        grids: one per kind of noise.
    """

    name: ClassVar[str] = "flatness"
    uses: ClassVar[tuple[str, ...]] = ("probe", "flatness")

    items: int
    answer_tokens: int
    draws: int
    root_mean_square: float
    losses: dict[str, Interval]
    grids: tuple[Grid, ...]


def expected_tokens(bench: Bench) -> int:
    """Forward tokens that :func:`measure` takes."""
    points = sum(len(sigmas) for _, sigmas in _sigmas(bench))
    evaluations = 1 + points * bench.settings.flatness.draws
    return len(_models(bench)) * evaluations * _probe(bench).input_tokens


def measure(bench: Bench) -> tuple[Flatness, Arrays]:
    """Add noise to the merged model and to those it is compared with, and evaluate.

    Raises:
        InputError: no σ, one that is not positive, or a loss without noise that is not finite.
    """
    grid = list(_sigmas(bench))
    probe, models, draws = _probe(bench), _models(bench), bench.settings.flatness.draws
    own = np.stack([bench.losses_at({model: 1.0}, probe) for model in models])
    norm, entries = noised_weights(bench, "start", "isotropic")
    scale = norm / math.sqrt(entries)
    sums = {kind: np.empty((len(models), len(sigmas), draws, len(probe.examples))) for kind, sigmas in grid}
    for draw in range(draws):
        seeds = noise_seeds(bench, "noise", draw)
        for kind, sigmas in grid:
            unit = scale if kind == "isotropic" else 1.0
            for number, model in enumerate(models):
                noise = Noise(kind, unit * sigmas[-1], seeds)
                sums[kind][number, :, draw] = _noisy_losses(bench, probe, model, noise, sigmas)
    resamples = bench.resamples_of(probe.task, probe.tokens)
    weights = _weights_of_draws(draws, len(resamples.counts), bench.generator("bootstrap of noise"))
    values, drawn = resamples.mean(own), resamples.means(own)
    result = Flatness(
        items=len(probe.examples),
        answer_tokens=int(probe.tokens.sum()),
        draws=draws,
        root_mean_square=scale,
        losses={model: interval_of(values[i], drawn[i]) for i, model in enumerate(models)},
        grids=tuple(_grid(kind, sigmas, models, sums[kind], own, resamples, weights) for kind, sigmas in grid),
        cost=bench.meter.cost(),
    )
    arrays: Arrays = {"models": np.array(models), "own": own, "task": probe.task, "tokens": probe.tokens}
    for kind, sigmas in grid:
        arrays |= {f"{kind}-sigmas": np.array(sigmas), f"{kind}-losses": sums[kind]}
    return result, arrays


def _sigmas(bench: Bench) -> Iterator[tuple[NoiseKind, list[float]]]:
    settings = bench.settings.flatness
    kinds: dict[NoiseKind, tuple[float, ...]] = {
        "isotropic": settings.isotropic,
        "filter-normalised": settings.filter_normalised,
    }
    if not any(kinds.values()):
        raise InputError("flatness.isotropic and flatness.filter_normalised are both empty; give one of them a σ")
    for kind, sigmas in kinds.items():
        if sigmas and min(sigmas) <= 0:
            raise InputError(f"flatness.{kind.replace('-', '_')} holds {min(sigmas):g}; give sizes above zero")
        if sigmas:
            yield kind, sorted(set(sigmas))


def _probe(bench: Bench) -> Probe:
    return bench.probe.first(bench.settings.flatness.per_task, bench.settings.probe.batch_tokens)


def _models(bench: Bench) -> list[str]:
    return [model for model in COMPARED if model in bench.checkpoints.folders]


def _noisy_losses(bench: Bench, probe: Probe, model: str, noise: Noise, sigmas: list[float]) -> NDArray[np.float64]:
    """Losses [σ, items] of a model under one draw; ``noise`` is that of the largest σ.

    From there the noise is shrunk to each smaller σ, which takes a fraction of the time of making it anew.
    """
    losses = []
    bench.network.move_to({model: 1.0})
    bench.network.perturb(noise)
    present = sigmas[-1]
    for sigma in reversed(sigmas):
        if sigma != present:
            bench.network.stretch(model, sigma / present)
            present = sigma
        losses.append(bench.losses_here(probe))
    return np.stack(losses[::-1])


def _weights_of_draws(draws: int, resamples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Weight [resamples, draws] of each draw of noise in each resample, with sum one.

    A resample holds one draw less than there are: with all of n it would show (n - 1) / n of the variance of their
    mean, and there are few.
    """
    return generator.multinomial(draws - 1, np.full(draws, 1 / draws), size=resamples) / (draws - 1)


def _grid(
    kind: NoiseKind,
    sigmas: list[float],
    models: list[str],
    sums: NDArray[np.float64],
    own: NDArray[np.float64],
    resamples: Resamples,
    weights: NDArray[np.float64],
) -> Grid:
    """Curves and comparisons of one kind of noise.

    Args:
        kind: of the noise.
        sigmas: rising.
        models: names.
        sums: [models, σ, draws, items], nats summed over each item's answer tokens.
        own: [models, items], the same without noise.
        resamples: of the items.
        weights: [resamples, draws], with sum one over draws.
    """
    overflowed = (~np.isfinite(sums)).sum(axis=(2, 3))
    finite = np.where((overflowed == 0)[:, :, None, None], sums, 0.0)
    values = resamples.mean(finite).mean(axis=2) - resamples.mean(own)[:, None]
    drawn = np.einsum("msdb,bd->msb", resamples.means(finite), weights) - resamples.means(own)[:, None]
    usable = int((overflowed == 0).all(axis=0).cumprod().sum())
    areas, drawn_areas = (_area(sigmas[:usable], heights[:, :usable]) for heights in (values[..., None], drawn))
    single = np.eye(len(models))

    def increases(row: NDArray[np.float64]) -> tuple[Interval | None, ...]:
        return tuple(
            None if overflowed[row != 0, sigma].any() else interval_of(row @ values[:, sigma], row @ drawn[:, sigma])
            for sigma in range(len(sigmas))
        )

    def area(row: NDArray[np.float64]) -> Interval | None:
        return interval_of((row @ areas).item(), row @ drawn_areas) if usable else None

    return Grid(
        kind=kind,
        sigmas=tuple(sigmas),
        reach=sigmas[usable - 1] if usable else None,
        curves=tuple(
            Curve(model=model, increases=increases(row), overflowed=tuple(counts.tolist()), area=area(row))
            for model, row, counts in zip(models, single, overflowed, strict=True)
        ),
        comparisons=tuple(
            Comparison(other=model, differences=increases(single[0] - row), area=area(single[0] - row))
            for model, row in zip(models[1:], single[1:], strict=True)
        ),
    )


def _area(sigmas: list[float], heights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area [models, n] under ``heights`` [models, σ, n] from σ = 0, where the increase is zero."""
    from_zero = np.pad(heights, ((0, 0), (1, 0), (0, 0)))
    return np.trapezoid(from_zero, [0.0, *sigmas], axis=1)
