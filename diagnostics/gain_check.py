r"""Theory against model: the gain that the Hessian predicts (Theorem 3.1/F.1) beside the gain that is measured.

With $e_k = \theta_k - \bar\theta$ and H the Hessian at the merged point,

$$\sum_k w_k L(\theta_k) - L(\bar\theta) = \sum_k w_k \left( \nabla L^\top e_k + \tfrac12 e_k^\top H e_k \right) + R$$

where the first term vanishes for an average and R collects what the quadratic picture leaves out. R is not guessed from
a bound but measured, and the third-order part of it taken from differences of losses near the merged point.
"""

from itertools import combinations
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from diagnostics.bench import Bench
from diagnostics.cost import PASSES_PER_PRODUCT
from diagnostics.curvature.hessian import HessianOperator
from diagnostics.curvature.loss_terms import answer_loss_terms
from diagnostics.curvature.parameters import VectorLayout
from diagnostics.curvature.reductions import dot
from diagnostics.probe import Probe
from diagnostics.resampling import interval_of
from diagnostics.result import Arrays, Result
from merit_theory.gain_from_gram import gain_from_gram
from training.evaluation.noise import Interval

STATIONS = (-0.0625, -0.03125, 0.0, 0.03125, 0.0625, 0.25, 0.5, 0.75, 1.0)
"""Positions on the line from the merged point (0) to a branch (1)."""
NEAR = 5
"""So many of them, the first, give derivatives at the merged point: near it, because a language model's loss bends."""
AVERAGE = 1e-3
"""Distance of the merged model from the branches' weighted average, over the branches' from it, that is rounding."""


class MidpointDip(BaseModel):
    """A pair of branches: the dip of the loss at their midpoint and what the Hessian at the merged point makes of it.

    Attributes:
        ends: names of the branches.
        measured: mean loss of the two minus loss at their midpoint.
        predicted: ⅛dᵀHd with d their difference.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ends: tuple[str, str]
    measured: Interval
    predicted: float


class Line(BaseModel):
    """Losses on the line from the merged model to a branch, in nats per answer token, and the parabola at its start.

    Attributes:
        branch: its name.
        losses: at the stations.
        slope: ∇L·e at the merged point, from differences of losses.
        curvature: eᵀHe there, from a Hessian product.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    branch: str
    losses: tuple[float, ...]
    slope: float
    curvature: float


class GainCheck(Result):
    """Gains in nats per answer token, all on the same items, with paired intervals over them.

    Attributes:
        items: how many.
        is_average: whether the merged model is the branches' weighted average but for rounding.
        linear: Σ w_k ∇L·e_k, zero for an average.
        quadratic: ½ Σ w_k e_kᵀHe_k, from Hessian products.
        cubic: the third-order term at the merged point.
        rest: the measured gain less these three.
        predicted: linear and quadratic together.
        from_dips: 4 Σ w_i w_j over the pairs' dips, the gain in a quadratic basin from losses alone.
        measured: Σ w_k L(θ_k) - L(θ̄).
        difference: predicted minus measured.
        second_difference: the quadratic term from losses near the merged point, which checks the products.
        gram: e_iᵀHe_j.
        stations: positions of the lines' losses, 0 at the merged model and 1 at the branch.
        lines: one entry per branch.
        dips: one entry per pair of branches.
    """

    name: ClassVar[str] = "gain_check"
    uses: ClassVar[tuple[str, ...]] = ("probe", "gain_check")

    items: int
    is_average: bool
    linear: Interval
    quadratic: Interval
    cubic: Interval
    rest: Interval
    predicted: Interval
    from_dips: Interval
    measured: Interval
    difference: Interval
    second_difference: Interval
    gram: tuple[tuple[float, ...], ...]
    stations: tuple[float, ...]
    lines: tuple[Line, ...]
    dips: tuple[MidpointDip, ...]

    @property
    def relative_error(self) -> float:
        """Difference over the measured gain; infinite where that is zero."""
        return self.difference.value / abs(self.measured.value) if self.measured.value else float("inf")

    @property
    def verdict(self) -> str:
        """Whether the second-order theory accounts for the gain: what its distance from the measured one says.

        ``overshoots`` and ``undershoots`` where the distance is separated from zero, ``agrees`` where it is not and
        the interval reaches no further than half the gain, ``cannot tell`` where it does.
        """
        if self.difference.separates_from_zero:
            return "overshoots" if self.difference.value > 0 else "undershoots"
        reach = max(abs(self.difference.low), abs(self.difference.high))
        return "agrees" if reach <= abs(self.measured.value) / 2 else "cannot tell"


def expected_tokens(bench: Bench) -> int:
    """Forward tokens that :func:`measure` takes, products counted as the passes they are worth."""
    branches = len(bench.checkpoints.branches)
    evaluations = 1 + branches * (len(STATIONS) - 1) + branches * (branches - 1) // 2
    return (evaluations + PASSES_PER_PRODUCT * branches) * _probe(bench).input_tokens


def measure(bench: Bench) -> tuple[GainCheck, Arrays]:
    """Evaluate the lines and midpoints, multiply by the Hessian, and compare.

    Raises:
        InputError: a loss or a product is not finite.
    """
    names = bench.checkpoints.branch_names
    weights = np.array(bench.checkpoints.weights)
    weights /= weights.sum()
    probe = _probe(bench)
    resamples = bench.resamples_of(probe.task, probe.tokens)
    merged = bench.losses_at({"merged": 1.0}, probe)
    lines = np.stack([_line(bench, name, merged, probe) for name in names])
    pairs = list(combinations(range(len(names)), 2))
    middles = [bench.losses_at({names[i]: 0.5, names[j]: 0.5}, probe) for i, j in pairs]
    gram, is_average = _curvature(bench, probe)

    values, draws = resamples.mean(lines), np.swapaxes(resamples.means(lines), 1, 2)
    terms, drawn = (np.tensordot(weights, taylor_terms(losses), axes=(0, 0)) for losses in (values, draws))
    rises = (losses[..., -1] - losses[..., STATIONS.index(0.0)] for losses in (values, draws))
    gain, gain_draws = (np.tensordot(weights, rise, axes=(0, 0)) for rise in rises)
    exact = gain_from_gram(gram, weights) if is_average else float(weights @ np.diagonal(gram)) / 2
    linear, linear_draws = (0.0, np.zeros(len(drawn))) if is_average else (terms[0], drawn[:, 0])
    # The products have no sampling error of their own: what other items would have given is read off the losses.
    quadratic_draws = exact + drawn[:, 1] - terms[1]
    predicted, predicted_draws = linear + exact, linear_draws + quadratic_draws
    at_branch = STATIONS.index(1.0)
    dips = np.stack(
        [
            (lines[i, at_branch] + lines[j, at_branch]) / 2 - middle
            for (i, j), middle in zip(pairs, middles, strict=True)
        ]
    )
    factors = np.array([4 * weights[i] * weights[j] for i, j in pairs])
    result = GainCheck(
        items=len(probe.examples),
        is_average=is_average,
        linear=interval_of(linear, linear_draws),
        quadratic=interval_of(exact, quadratic_draws),
        cubic=interval_of(terms[2], drawn[:, 2]),
        rest=interval_of(gain - predicted - terms[2], gain_draws - predicted_draws - drawn[:, 2]),
        predicted=interval_of(predicted, predicted_draws),
        from_dips=resamples.interval(dips, lambda means: factors @ means),
        measured=interval_of(gain, gain_draws),
        difference=interval_of(predicted - gain, predicted_draws - gain_draws),
        second_difference=interval_of(terms[1], drawn[:, 1]),
        gram=tuple(tuple(row) for row in gram.tolist()),
        stations=STATIONS,
        lines=tuple(
            Line(branch=name, losses=tuple(losses), slope=taylor_terms(losses)[0], curvature=gram[number, number])
            for number, (name, losses) in enumerate(zip(names, values, strict=True))
        ),
        dips=tuple(
            MidpointDip(
                ends=(names[i], names[j]),
                measured=resamples.interval(dips[number][None], lambda means: means[0]),
                predicted=(gram[i, i] + gram[j, j] - 2 * gram[i, j]) / 8,
            )
            for number, (i, j) in enumerate(pairs)
        ),
        cost=bench.meter.cost(),
    )
    return result, {"lines": lines, "dips": dips, "tokens": probe.tokens}


def taylor_terms(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The terms L', L''/2 and L'''/6 of order one to three at the merged point: float64 [..., 3].

    Args:
        losses: float64 [..., stations], at :data:`STATIONS`; a polynomial of degree four goes through the nearest.

    >>> np.round(taylor_terms(np.array(STATIONS) ** 3 + 2 * np.array(STATIONS)), 9).tolist()
    [2.0, 0.0, 1.0]
    """
    powers = np.vander(np.array(STATIONS[:NEAR]), increasing=True)
    return np.asarray(losses[..., :NEAR] @ np.linalg.inv(powers).T[:, 1:4], dtype=np.float64) + 0.0


def _probe(bench: Bench) -> Probe:
    return bench.probe.first(bench.settings.gain_check.per_task, bench.settings.gain_check.batch_tokens)


def _line(bench: Bench, branch: str, merged: NDArray[np.float64], probe: Probe) -> NDArray[np.float64]:
    """Loss sums [stations, n_items] on the line from the merged point to ``branch``."""
    return np.stack(
        [
            bench.losses_at({branch: station, "merged": 1 - station}, probe) if station else merged
            for station in STATIONS
        ]
    )


def _curvature(bench: Bench, probe: Probe) -> tuple[NDArray[np.float64], bool]:
    """The matrix e_iᵀHe_j with H at the merged point, and whether that is the branches' weighted average."""
    names, weights = bench.checkpoints.branch_names, bench.checkpoints.weights
    gram = np.zeros((len(names), len(names)))
    bench.network.move_to({"merged": 1.0})
    with bench.network.differentiated(bench.trainable) as parameters:
        layout = VectorLayout.of(parameters)
        terms = answer_loss_terms(bench.network.model, probe.batches, bench.objective)
        operator = HessianOperator(parameters, terms, graph_bytes=0)
        average = dict(zip(names, weights, strict=True))
        residual = _squared_norm(bench, average | {"merged": -1.0})
        spread = sum(w * _squared_norm(bench, {name: 1.0, "merged": -1.0}) for name, w in average.items())
        is_average = residual <= AVERAGE**2 * abs(spread)
        for row, name in enumerate(names):
            if is_average and len(names) == 2 and row == 1:
                # Two branches lie on one line through their average: the other's product says it all.
                ratio = -weights[0] / weights[1]
                gram[1, 1], gram[0, 1], gram[1, 0] = ratio**2 * gram[0, 0], ratio * gram[0, 0], ratio * gram[0, 0]
                break
            direction = layout.flatten(_displacement(bench, name, layout))
            image = operator.product(direction)
            bench.meter.multiplied(probe.input_tokens)
            gram[row, row] = dot(direction, image)
            del direction
            for column in range(row):
                gram[row, column] = gram[column, row] = _dot_with(bench, names[column], layout, image)
    return gram, is_average


def _displacement(bench: Bench, branch: str, layout: VectorLayout) -> dict[str, Tensor]:
    pieces = bench.network.combination({branch: 1.0, "merged": -1.0})
    return {name: piece for name, piece in pieces if name in layout.shapes}


def _dot_with(bench: Bench, branch: str, layout: VectorLayout, image: Tensor) -> float:
    images = layout.unflatten(image)
    pieces = bench.network.combination({branch: 1.0, "merged": -1.0})
    return sum(dot(piece.reshape(-1), images[name].reshape(-1)) for name, piece in pieces if name in images)


def _squared_norm(bench: Bench, coefficients: dict[str, float]) -> float:
    return sum(dot(piece.reshape(-1), piece.reshape(-1)) for _, piece in bench.network.combination(coefficients))
