"""Does the split with the larger gain give the better merged model?

Setting: N quadratic tasks, gradient descent on both groups of every balanced split and on all tasks jointly. The
Hessians go from one shared by all tasks to independent Wishart matrices with the same mean. Starts: the optimum of the
mixture, as in appendix F.4, and a generic point. The gain is mean branch loss minus merged loss.

Theory: with a shared Hessian the merged model is that of joint training at equal steps whatever the split (theorem A),
so the gain is exactly what the split cost the branches. Otherwise the merge drifts from joint training by the
covariance between groups of Hessian and gradient (theorem C): from the optimum every drift costs, and a larger gain
goes with a worse merge. At equal tokens joint training takes twice the steps of a branch.

Control: refuted by a merged loss that varies with the split under a shared Hessian, or by a rank correlation of gain
and merged loss below zero from the optimum. As the difference of a common branch loss and the gain, merged loss would
fall as the gain grows; so a positive correlation is not an artefact of the definition.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from merit_theory.hessian import DenseHessian
from merit_theory.linear_quadratic import LinearQuadraticModel, branch_displacements
from merit_theory.merging import merging_gain
from merit_theory.quick_jit import quick_jit
from simulations.intervals import mean_interval, share_interval
from simulations.rank_correlation import rank_correlation
from simulations.unequal_tasks import draw_unequal_tasks, excess_loss, rows_of_balanced_splits

STARTS = ("the optimum", "a generic start")


@dataclass(frozen=True, slots=True)
class Config:
    """What to draw and how long to train.

    Attributes:
        instances: independent mixtures.
        n_tasks: N, even; all C(N, N/2)/2 balanced splits are trained.
        dimension: d.
        heterogeneity: share h of its own Hessian in a task's, the rest the mean; 0 is the shared Hessian.
        steps: τ of every branch.
        learning_rate: η, with the largest eigenvalue of the mean Hessian at one.
        seed: of everything random.
    """

    instances: int = 60
    n_tasks: int = 8
    dimension: int = 6
    heterogeneity: tuple[float, ...] = (0.0, 0.1, 0.3, 1.0)
    steps: tuple[int, ...] = (2, 20, 200)
    learning_rate: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not all(0 <= share <= 1 for share in self.heterogeneity):
            raise ValueError(f"heterogeneity is {self.heterogeneity}; expected shares from 0 to 1")
        if self.instances < 2:
            raise ValueError(f"instances is {self.instances}; an interval needs at least 2")


@dataclass(frozen=True, slots=True)
class Result:
    """Losses on the mixture, above its minimum; axes: heterogeneity, start, number of steps, mixture, split.

    Attributes:
        heterogeneity: float64 [h].
        steps: int64 [t], τ.
        branch_loss: float64 [h, 2, t, m, s], mean of the two branches.
        gain: float64 [h, 2, t, m, s], dispersion of the branches in the mean Hessian: not a difference of losses.
        merged_loss: float64 [h, 2, t, m, s].
        joint_equal_steps: float64 [h, 2, t, m], joint training for τ steps.
        joint_equal_tokens: float64 [h, 2, t, m], joint training for 2τ steps.
    """

    heterogeneity: NDArray[np.float64]
    steps: NDArray[np.int64]
    branch_loss: NDArray[np.float64]
    gain: NDArray[np.float64]
    merged_loss: NDArray[np.float64]
    joint_equal_steps: NDArray[np.float64]
    joint_equal_tokens: NDArray[np.float64]

    def spread_over_splits(self, index: int) -> float:
        """Largest difference of merged losses between splits at one heterogeneity, relative to the branches' loss."""
        return float((np.ptp(self.merged_loss[index], axis=-1) / self.branch_loss[index].max(axis=-1)).max())

    def correlation(self, index: int) -> NDArray[np.float64]:
        """Rank correlation over splits of gain and merged loss at a heterogeneity above zero; float64 [2, t, m]."""
        return rank_correlation(self.gain[index], self.merged_loss[index])

    def at_largest_gain(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values [h, 2, t, m, s] at the split with the largest gain; float64 [h, 2, t, m]."""
        return np.take_along_axis(values, self.gain.argmax(axis=-1)[..., None], axis=-1)[..., 0]

    @property
    def findings(self) -> dict[str, Any]:
        """What came out, with 95 % intervals over instances."""
        shared = np.flatnonzero(self.heterogeneity == 0).tolist()
        unequal = np.flatnonzero(self.heterogeneity > 0).tolist()
        found: dict[str, Any] = {}
        for index in shared:
            joint = self.joint_equal_steps[index, ..., None]
            difference = np.abs(self.merged_loss[index] - joint) / self.branch_loss[index]
            found["shared Hessian: largest difference of merged losses between splits, over the branch loss"] = {
                "predicted": "rounding",
                "found": self.spread_over_splits(index),
            }
            found[
                "shared Hessian: largest difference of merged and joint loss at equal steps, over the branch loss"
            ] = {
                "predicted": "rounding",
                "found": float(difference.max()),
            }
        if unequal:
            found["rank correlation of gain and merged loss over all splits"] = {
                "predicted": "positive from the optimum; open from a generic start",
                "found": self._cells(unequal, lambda index: self.correlation(index), mean_interval),
            }
            largest = self.at_largest_gain(self.merged_loss)
            worse = largest > self.merged_loss.mean(axis=-1)
            found["share of mixtures in which the split of largest gain merges worse than the mean split"] = {
                "predicted": "above one half from the optimum",
                "found": self._cells(unequal, lambda index: worse[index], share_interval),
            }
        found |= {
            f"losses {where}": {"found": self._triple(*cell), "predicted": told} for where, cell, told in self._ends
        }
        return found

    @property
    def _ends(self) -> list[tuple[str, tuple[int, int], str]]:
        """The first and the last heterogeneity, from either start, at the longest training."""
        told = {True: "merged equals joint at equal steps", False: "merged above joint at equal steps from the optimum"}
        return [
            (f"at heterogeneity {self.heterogeneity[h]:g} from {start}", (h, i), told[self.heterogeneity[h] == 0])
            for h in sorted({0, len(self.heterogeneity) - 1})
            for i, start in enumerate(STARTS)
        ]

    def _triple(self, h: int, start: int) -> dict[str, Any]:
        """Branch loss, gain and merged loss beside joint training after the longest training."""
        at = h, start, -1
        triples = {
            "split of largest gain": [self.at_largest_gain(part)[at] for part in self._parts],
            "mean split": [part[at].mean(axis=-1) for part in self._parts],
        }
        words = "mean branch loss", "gain", "merged loss"
        return {
            **{
                name: {word: mean_interval(values) for word, values in zip(words, triple, strict=True)}
                for name, triple in triples.items()
            },
            "joint at equal steps": mean_interval(self.joint_equal_steps[at]),
            "joint at equal tokens": mean_interval(self.joint_equal_tokens[at]),
        }

    @property
    def _parts(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        return self.branch_loss, self.gain, self.merged_loss

    def _cells(self, indices: list[int], values: Any, interval: Any) -> dict[str, Any]:
        """An interval for every start, heterogeneity and number of steps, of values [2, t, m]."""
        return {
            f"from {start}, heterogeneity {self.heterogeneity[index]:g}": {
                f"{steps} steps": interval(values(index)[i, j]) for j, steps in enumerate(self.steps.tolist())
            }
            for i, start in enumerate(STARTS)
            for index in indices
        }


class _Losses(NamedTuple):
    branch: Float[Array, "*batch s"]
    gain: Float[Array, "*batch s"]
    merged: Float[Array, "*batch s"]
    equal_steps: Float[Array, "*batch"]
    equal_tokens: Float[Array, "*batch"]


def simulate(config: Config) -> Result:
    """Train both groups of all splits of all mixtures.

    Args:
        config: what to draw and how long to train.
    """
    rng = np.random.default_rng(config.seed)
    tasks = draw_unequal_tasks(rng, config.instances, config.n_tasks, config.dimension, away=0.0)
    offsets = rng.standard_normal(tasks.starts.shape)
    away = np.stack([np.zeros_like(offsets), offsets])
    mean = tasks.hessians.mean(axis=1, keepdims=True)
    rows, steps = rows_of_balanced_splits(config.n_tasks), jnp.array(config.steps)
    losses = [
        _losses((1 - share) * mean + share * tasks.hessians, tasks.optima, away, rows, config.learning_rate, steps)
        for share in config.heterogeneity
    ]
    stacked = [np.stack([np.asarray(part) for part in parts]) for parts in zip(*losses, strict=True)]
    return Result(np.array(config.heterogeneity), np.array(config.steps, dtype=np.int64), *stacked)


@quick_jit
def _losses(
    hessians: Float[Array, "m n d d"],
    optima: Float[Array, "m n d"],
    away: Float[Array, "2 m d"],
    rows: Float[Array, "s 2 n"],
    rate: float,
    steps: Int[Array, " t"],
) -> _Losses:
    """Losses [2, t, m, s], and [2, t, m] of joint training."""

    def one(
        stack: Float[Array, "n d d"], places: Float[Array, "n d"], offset: Float[Array, " d"], steps: Any
    ) -> _Losses:
        model = LinearQuadraticModel(DenseHessian(stack), places)
        start, mean = model.optimum() + offset, model.mean_hessian()
        excess = partial(excess_loss, model, mean)
        moved = branch_displacements(model, start, rows.reshape(-1, rows.shape[-1]), rate, steps)
        branches = moved.reshape(*rows.shape[:2], -1)
        joint = [branch_displacements(model, start, model.uniform[None, :], rate, k * steps)[0] for k in (1, 2)]
        return _Losses(
            excess(start[None, None, :] + branches).mean(axis=1),
            jax.vmap(lambda pair: merging_gain(mean, pair, jnp.full(2, 0.5)))(branches),
            excess(start[None, :] + branches.mean(axis=1)),
            *(excess(start + displacement) for displacement in joint),
        )

    over_mixtures = jax.vmap(one, (0, 0, 0, None))
    return jax.vmap(jax.vmap(over_mixtures, (None, None, None, 0)), (None, None, 0, None))(
        hessians, optima, away, steps
    )
