"""Groups of unequal size: should branches be merged by their tokens, or uniformly?

Setting: 64 tasks with lognormal sizes and one Hessian, gradient descent, two groups cut along the first PCA axis at the
median of tokens, at the median task, or at zero. Branches make equal steps, or steps in proportion to their tokens as
in one epoch. The mixture weighs tasks by tokens.

Prediction. At equal steps the token-weighted merge is joint training exactly (theorem A, the control), and the uniform
one is biased. At steps in proportion to tokens, token weights count a large group twice at first order and uniform ones
are unbiased; at convergence it is the other way round (section 8.2 of our notes on the theory). So no fixed weights are
right for one-epoch branches. Refuted by: token weights unbiased at small ητλ, or uniform ones at convergence.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from merit_theory.conflict import cosine_similarity
from merit_theory.hessian import DiagonalHessian
from merit_theory.linear_quadratic import LinearQuadraticModel, branch_displacements
from merit_theory.merged_loss import merged_after_one_epoch
from merit_theory.merging import merging_gain
from merit_theory.partition import Cut, Partition, pca_partition
from merit_theory.quick_jit import quick_jit
from simulations.intervals import mean_interval

SCHEDULES = ("equal steps", "steps in proportion to tokens")
MERGES = ("token-weighted", "uniform")
CUTS: tuple[Cut, ...] = ("tokens", "count", "sign")


@dataclass(frozen=True, slots=True)
class Config:
    """What to draw and how far to train.

    Attributes:
        draws: mixtures, the unit of every interval.
        n_tasks: number of tasks.
        dimension: parameters, all of curvature one.
        log_spread: standard deviation of the logarithm of a task's tokens.
        away: distance of the generic start from the optimum, in spreads of the task optima.
        steps: τ, mean over the two branches; joint training makes τ steps, or 2τ at equal tokens.
        progress: ητλ, ascending.
        seed: of everything random.
    """

    draws: int = 40
    n_tasks: int = 64
    dimension: int = 16
    log_spread: float = 1.0
    away: float = 1.0
    steps: int = 2000
    progress: tuple[float, ...] = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """Bias and losses; axes in the order of `SCHEDULES`, `MERGES`, `CUTS`, then P values of ητλ, then draws.

    Attributes:
        progress: float64 [P], ητλ.
        larger_share: float64 [3 cuts, draws], tokens of the larger group over all tokens.
        bias: float64 [2, 2, 3, P, draws], distance of the merge from joint training over the mean length of the
            branches, from the optimum of the mixture, where joint training stays.
        branch_loss: float64 [2, 2, 3, P, draws], mean of the branches by merge weight, from the generic start; losses
            are of the mixture, above its minimum.
        gain: float64 [2, 2, 3, P, draws], from the generic start.
        merged_loss: float64 [2, 2, 3, P, draws], from the generic start.
        start_loss: float64 [draws], of the generic start.
        joint_equal_steps: float64 [P, draws], from the generic start.
        joint_equal_tokens: float64 [P, draws], from the generic start.
        instance_error: float64 [2 merges, P], displacement of the merge in the instance a = (3, -1, -1, -1) with groups
            {1} and {2, 3, 4}, where joint training stays; ητλ is per task.
    """

    progress: NDArray[np.float64]
    larger_share: NDArray[np.float64]
    bias: NDArray[np.float64]
    branch_loss: NDArray[np.float64]
    gain: NDArray[np.float64]
    merged_loss: NDArray[np.float64]
    start_loss: NDArray[np.float64]
    joint_equal_steps: NDArray[np.float64]
    joint_equal_tokens: NDArray[np.float64]
    instance_error: NDArray[np.float64]

    @property
    def crossing(self) -> NDArray[np.float64]:
        """Smallest ητλ at which token weights are less biased than uniform ones; float64 [3 cuts, draws], inf if none.

        At steps in proportion to tokens.
        """
        better = self.bias[1, 0] < self.bias[1, 1]
        return np.where(better.any(axis=1), self.progress[better.argmax(axis=1)], np.inf)

    @property
    def findings(self) -> dict[str, Any]:
        """What came out, with 95 % intervals over draws."""
        first_order = {"tokens": ".019", "count": ".12", "sign": ".10"}
        quoted = {
            "token-weighted": {0.05: -0.07, 0.5: -0.29, 5.0: -0.004},
            "uniform": {0.05: 0.004, 0.5: 0.21, 5.0: 0.99},
        }
        crossing = np.where(np.isfinite(self.crossing), self.crossing, 2 * self.progress[-1])
        return {
            "error in the instance (3, -1, -1, -1)": {
                "predicted": {name: {f"ητλ = {x:g}": error for x, error in by.items()} for name, by in quoted.items()},
                "found": {
                    name: {f"ητλ = {x:g}": float(error) for x, error in zip(self.progress, errors, strict=True)}
                    for name, errors in zip(MERGES, self.instance_error, strict=True)
                },
            },
            "token-weighted, equal steps, largest bias": {"predicted": 0, "found": float(self.bias[0, 0].max())},
            **{
                f"bias over branch length, {SCHEDULES[1]}, {merge}, cut by {cut}": {
                    "predicted": f"{first_order[cut]} → 0" if merge == MERGES[0] else "0 → above",
                    "found": self._by_progress(self.bias[1, i, j]),
                }
                for j, cut in enumerate(CUTS)
                for i, merge in enumerate(MERGES)
            },
            **{
                f"bias over branch length, {SCHEDULES[0]}, uniform, cut by {cut}": {
                    "predicted": "positive",
                    "found": self._by_progress(self.bias[0, 1, j]),
                }
                for j, cut in enumerate(CUTS)
            },
            "median over draws of the smallest ητλ tried at which token weights are less biased": {
                "predicted": "between .5 and 5 in the instance",
                "found": dict(zip(CUTS, np.median(crossing, axis=1).tolist(), strict=True)),
            },
            "tokens of the larger group over all": {
                "predicted": "near .5 for tokens",
                "found": dict(zip(CUTS, map(mean_interval, self.larger_share), strict=True)),
            },
            **{
                f"merged loss less joint at equal steps, over the start's, {SCHEDULES[1]}, {merge}, cut by {cut}": {
                    "predicted": "no claim",
                    "found": self._by_progress((self.merged_loss[1, i, j] - self.joint_equal_steps) / self.start_loss),
                }
                for j, cut in enumerate(CUTS)
                for i, merge in enumerate(MERGES)
            },
            "joint loss at equal tokens less joint at equal steps, over the start's": {
                "predicted": "negative",
                "found": self._by_progress((self.joint_equal_tokens - self.joint_equal_steps) / self.start_loss),
            },
        }

    def _by_progress(self, values: NDArray[np.float64]) -> dict[str, Any]:
        return {f"ητλ = {x:g}": mean_interval(row) for x, row in zip(self.progress, values, strict=True)}


class _Trained(NamedTuple):
    """One merge, for every ητλ."""

    bias: Float[Array, "*batch p"]
    branch: Float[Array, "*batch p"]
    gain: Float[Array, "*batch p"]
    merged: Float[Array, "*batch p"]
    equal_steps: Float[Array, "*batch p"]
    equal_tokens: Float[Array, "*batch p"]


def simulate(config: Config) -> Result:
    """Cut, train with both schedules and merge with both weights, for all draws."""
    rng = np.random.default_rng(config.seed)
    progress = np.array(config.progress)
    optima = rng.standard_normal((config.draws, config.n_tasks, config.dimension))
    tokens = np.exp(config.log_spread * rng.standard_normal((config.draws, config.n_tasks)))
    shares = tokens / tokens.sum(axis=1, keepdims=True)
    centres = np.einsum("mn,mnd->md", shares, optima)
    starts = centres + config.away * rng.standard_normal(centres.shape)
    rows = np.empty((config.draws, len(CUTS), 2, config.n_tasks))
    for draw, cut in np.ndindex(config.draws, len(CUTS)):
        split = _cut(optima[draw] - centres[draw], tokens[draw], CUTS[cut])
        rows[draw, cut] = split.indicators.T * shares[draw]
    group_shares = rows.sum(axis=-1)
    schedules = np.stack([np.full_like(group_shares, config.steps), np.rint(2 * config.steps * group_shares)], axis=2)
    weights = np.stack([group_shares, np.full_like(group_shares, 0.5)], axis=2)
    trained = _train(
        (jnp.asarray(optima), jnp.asarray(shares), jnp.asarray(starts)),
        jnp.asarray(rows / group_shares[..., None]),
        jnp.asarray(schedules.astype(np.int64)),
        jnp.asarray(weights),
        jnp.asarray(progress),
        jnp.array(config.steps),
    )
    arms = (np.asarray(part).transpose(2, 3, 1, 4, 0) for part in trained)
    bias, branch, gain, merged, equal_steps, equal_tokens = arms
    return Result(
        progress=progress,
        larger_share=group_shares.max(axis=-1).T,
        bias=bias,
        branch_loss=branch,
        gain=gain,
        merged_loss=merged,
        start_loss=0.5 * ((starts - centres) ** 2).sum(axis=1),
        joint_equal_steps=equal_steps[0, 0, 0],
        joint_equal_tokens=equal_tokens[0, 0, 0],
        instance_error=_instance_error(progress, config.steps),
    )


def _cut(gradients: NDArray[np.float64], tokens: NDArray[np.float64], cut: Cut) -> Partition:
    return pca_partition(cosine_similarity(gradients), 1, centre="double", cut=cut, weights=tokens)


@quick_jit
def _train(
    mixtures: tuple[Float[Array, "m n d"], Float[Array, "m n"], Float[Array, "m d"]],
    rows: Float[Array, "m cuts 2 n"],
    schedules: Int[Array, "m cuts schedules 2"],
    weights: Float[Array, "m cuts merges 2"],
    progress: Float[Array, " p"],
    steps: Any,
) -> _Trained:
    """Every mixture, cut, schedule, merge and ητλ: arrays [draws, cuts, schedules, merges, P]."""

    def one(
        mixture: tuple[Array, Array, Array],
        rows: Float[Array, "2 n"],
        taken: Int[Array, " 2"],
        weights: Float[Array, " 2"],
        progress: Float[Array, ""],
    ) -> _Trained:
        optima, shares, start = mixture
        hessian, rate = DiagonalHessian(jnp.ones(optima.shape[-1])), progress / steps
        model = LinearQuadraticModel(hessian, optima)
        optimum = model.optimum(shares)

        def branches(origin: Float[Array, " d"]) -> Float[Array, "2 d"]:
            return jax.vmap(lambda row, tau: branch_displacements(model, origin, row[None, :], rate, tau)[0])(
                rows, taken
            )

        def excess(away: Float[Array, "*k d"]) -> Float[Array, "*k"]:
            return 0.5 * hessian.quadratic_form(away)

        still, moved = branches(optimum), branches(start)
        joint = [branch_displacements(model, start, shares[None, :], rate, tau)[0] for tau in (steps, 2 * steps)]
        return _Trained(
            jnp.linalg.norm(weights @ still) / jnp.linalg.norm(still, axis=1).mean(),
            weights @ excess((start - optimum)[None, :] + moved),
            merging_gain(hessian, moved, weights),
            excess(start - optimum + weights @ moved),
            *(excess(start - optimum + way) for way in joint),
        )

    over_progress = jax.vmap(one, (None, None, None, None, 0))
    over_merges = jax.vmap(over_progress, (None, None, None, 0, None))
    over_schedules = jax.vmap(over_merges, (None, None, 0, None, None))
    over_cuts = jax.vmap(over_schedules, (None, 0, 0, 0, None))
    return jax.vmap(over_cuts, (0, 0, 0, 0, None))(mixtures, rows, schedules, weights, progress)


def _instance_error(progress: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Displacement of both merges in the smallest instance, float64 [2, P]; a branch makes ``steps`` per task."""
    model = LinearQuadraticModel(DiagonalHessian(jnp.ones(1)), jnp.array([[3.0], [-1.0], [-1.0], [-1.0]]))
    split = Partition(((0,), (1, 2, 3)))
    merges = [jnp.array([0.25, 0.75]), jnp.array([0.5, 0.5])]
    return np.array(
        [
            [float(merged_after_one_epoch(model, jnp.zeros(1), split, weights, x / steps, steps)[0]) for x in progress]
            for weights in merges
        ]
    )
