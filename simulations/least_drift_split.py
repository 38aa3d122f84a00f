"""Which number of a split tells how far its merge ends from joint training? The least-drift split, an idea of our own.

Setting: quadratic tasks with Wishart Hessians, gradient descent, all balanced splits of every draw, so the candidates
are compared on every split there is. Candidates: the drift norm ‖Cov_k(H_k, g_k)‖ of theorem C, the same from sketches
(inner products of the N² Hessian products H_i g_j with a few random directions), and the gain.

Prediction: over splits the drift norm orders the distance ‖θ̄ - θ_joint‖, exactly for ητλ ≪ 1, and better than the gain
does; so the split of least drift merges closest to joint training. Refuted by a rank correlation of the gain with the
distance that is as high, or by a least-drift split no closer than the mean split. Controls: a Hessian shared by all
tasks leaves no distance to predict (theorem A); the gain, and the split that PCA finds.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from merit_theory.hessian import DenseHessian
from merit_theory.linear_quadratic import branch_displacements
from merit_theory.merged_loss import hessian_gradient_covariance
from merit_theory.merging import merging_gain
from merit_theory.quick_jit import quick_jit
from merit_theory.split_gain import leading_axis, median_split, task_matrix
from simulations.intervals import mean_interval, share_interval
from simulations.rank_correlation import rank_correlation
from simulations.unequal_tasks import UnequalTasks, draw_unequal_tasks, excess_loss, rows_of_balanced_splits


@dataclass(frozen=True, slots=True)
class Config:
    """What to draw and how far to train.

    Attributes:
        draws: mixtures, the unit of every interval.
        n_tasks: even; all balanced splits are compared.
        dimension: parameters.
        away: distance of the start from the optimum of the mixture, in spreads of the task optima.
        steps: τ.
        progress: ητ, ascending, where the largest eigenvalue of the mean Hessian is one.
        sketch_sizes: numbers of random directions in a sketch, ascending; a smaller sketch is the front of a larger.
        seed: of everything random.
    """

    draws: int = 40
    n_tasks: int = 8
    dimension: int = 16
    away: float = 1.0
    steps: int = 20
    progress: tuple[float, ...] = (0.02, 0.2, 1.0, 4.0, 20.0)
    sketch_sizes: tuple[int, ...] = (8, 64)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What each split promises and does; P values of ητ, Q sketches, S splits.

    Attributes:
        progress: float64 [P], ητ.
        drift_norm: float64 [draws, S], ‖Cov_k(H_k, g_k)‖ at the start.
        sketch_sizes: int64 [Q].
        sketched_drift_norm: float64 [Q, draws, S], its estimate from sketches of Hessian products.
        distance: float64 [P, draws, S], ‖θ̄ - θ_joint‖.
        gain: float64 [P, draws, S].
        branch_loss: float64 [P, draws, S], mean of the two branches, on the mixture, above its minimum; so all losses.
        merged_loss: float64 [P, draws, S].
        joint_equal_steps: float64 [P, draws].
        joint_equal_tokens: float64 [P, draws], after 2τ steps.
        pca: int64 [draws], the split along the first axis of the task matrix M.
    """

    progress: NDArray[np.float64]
    drift_norm: NDArray[np.float64]
    sketch_sizes: NDArray[np.int64]
    sketched_drift_norm: NDArray[np.float64]
    distance: NDArray[np.float64]
    gain: NDArray[np.float64]
    branch_loss: NDArray[np.float64]
    merged_loss: NDArray[np.float64]
    joint_equal_steps: NDArray[np.float64]
    joint_equal_tokens: NDArray[np.float64]
    pca: NDArray[np.int64]

    def of_split(self, values: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """Values [P, draws, S] at one split of every draw; float64 [P, draws]."""
        return np.take_along_axis(values, chosen[None, :, None], axis=-1)[..., 0]

    @property
    def correlations(self) -> dict[str, NDArray[np.float64]]:
        """Rank correlation of each candidate with the distance over the splits of a draw; float64 [P, draws] each."""
        candidates = {
            "drift norm": self.drift_norm,
            **{f"drift norm from {q} directions": norm for q, norm in self._sketches},
            "gain": self.gain,
        }
        return {
            name: rank_correlation(np.broadcast_to(values, self.distance.shape), self.distance)
            for name, values in candidates.items()
        }

    @property
    def _sketches(self) -> list[tuple[int, NDArray[np.float64]]]:
        return list(zip(self.sketch_sizes.tolist(), self.sketched_drift_norm, strict=True))

    @property
    def chosen(self) -> dict[str, NDArray[np.int64]]:
        """Split that each rule takes; int64 [draws] each."""
        return {
            "least drift": self.drift_norm.argmin(axis=1),
            **{f"least drift from {q} directions": norm.argmin(axis=1) for q, norm in self._sketches},
            "PCA of the task matrix M": self.pca,
        }

    @property
    def findings(self) -> dict[str, Any]:
        """What came out, with 95 % intervals over draws."""
        correlations = self.correlations
        lead = correlations["drift norm"] - correlations["gain"]
        mean_distance, mean_loss = self.distance.mean(axis=-1), self.merged_loss.mean(axis=-1)
        above_joint = mean_loss - self.joint_equal_steps
        return {
            **{
                f"rank correlation of the {name} with the distance from joint": {
                    "predicted": {"gain": "lower", "drift norm": "1 for ητ ≪ 1"}.get(name, "above that of the gain"),
                    "found": self._by_progress(mean_interval, correlation),
                }
                for name, correlation in correlations.items()
            },
            "rank correlation of the drift norm less that of the gain": {
                "predicted": "positive",
                "found": self._by_progress(mean_interval, lead),
            },
            **{
                f"distance of the split by {name} over the mean split's": {
                    "predicted": "above 1" if name.startswith("PCA") else "below 1",
                    "found": self._by_progress(mean_interval, self.of_split(self.distance, chosen) / mean_distance),
                }
                for name, chosen in self.chosen.items()
            },
            **{
                f"share of draws where the split by {name} has a lower merged loss than the mean split": {
                    "predicted": "no claim: the drift may raise or lower the loss",
                    "found": self._by_progress(share_interval, self.of_split(self.merged_loss, chosen) < mean_loss),
                }
                for name, chosen in self.chosen.items()
            },
            **{
                f"share of the mean split's loss above joint at equal steps left by {name}": {
                    "predicted": "no claim",
                    "found": self._by_progress(
                        lambda excess: float(excess[0].mean() / excess[1].mean()),
                        np.stack([self.of_split(self.merged_loss, chosen) - self.joint_equal_steps, above_joint], 1),
                    ),
                }
                for name, chosen in self.chosen.items()
            },
            "loss of joint at equal tokens over the mean split's merged loss": {
                "predicted": "no claim",
                "found": self._by_progress(mean_interval, self.joint_equal_tokens / mean_loss),
            },
        }

    def _by_progress(self, summarise: Any, values: NDArray[Any]) -> dict[str, Any]:
        return {f"ητ = {x:g}": summarise(row) for x, row in zip(self.progress, values, strict=True)}


class _Measured(NamedTuple):
    distance: Float[Array, "*batch s"]
    gain: Float[Array, "*batch s"]
    branch: Float[Array, "*batch s"]
    merged: Float[Array, "*batch s"]
    equal_steps: Float[Array, "*batch"]
    equal_tokens: Float[Array, "*batch"]


def simulate(config: Config) -> Result:
    """Train all groups of all splits of all draws, and measure what was promised beforehand."""
    rng = np.random.default_rng(config.seed)
    tasks = draw_unequal_tasks(rng, config.draws, config.n_tasks, config.dimension, config.away)
    directions = rng.standard_normal((config.draws, config.sketch_sizes[-1], config.dimension))
    rows = rows_of_balanced_splits(config.n_tasks)
    exact, sketched, chosen = _promises(tasks, jnp.asarray(directions), rows, config.sketch_sizes)
    progress = np.array(config.progress)
    measured = _measure(tasks, rows, jnp.asarray(progress), jnp.array(config.steps))
    distance, gain, branch, merged, equal_steps, equal_tokens = (np.asarray(part).swapaxes(0, 1) for part in measured)
    return Result(
        progress=progress,
        drift_norm=np.asarray(exact),
        sketch_sizes=np.array(config.sketch_sizes, dtype=np.int64),
        sketched_drift_norm=np.asarray(sketched).swapaxes(0, 1),
        distance=distance,
        gain=gain,
        branch_loss=branch,
        merged_loss=merged,
        joint_equal_steps=equal_steps,
        joint_equal_tokens=equal_tokens,
        pca=np.asarray(chosen, dtype=np.int64),
    )


@partial(quick_jit, static_argnames="sketch_sizes")
def _promises(
    tasks: UnequalTasks, directions: Float[Array, "m q d"], rows: Float[Array, "s 2 n"], sketch_sizes: tuple[int, ...]
) -> tuple[Float[Array, "m s"], Float[Array, "m sizes s"], Array]:
    """Drift norm of every split, its estimates from sketches, and the index of the PCA split."""
    half = jnp.full(2, 0.5)

    def one(
        tasks: UnequalTasks, directions: Float[Array, "q d"]
    ) -> tuple[Float[Array, " s"], Float[Array, "sizes s"], Array]:
        model = tasks.model
        slopes = model.task_gradients(tasks.starts)

        def drift(pair: Float[Array, "2 n"]) -> Float[Array, " d"]:
            stack = DenseHessian(jnp.einsum("kn,nij->kij", pair, model.hessian.dense()))
            return hessian_gradient_covariance(stack, pair @ slopes, half)

        products = jnp.einsum("qa,iab,jb->ijq", directions, model.hessian.dense(), slopes)

        def sketched_drift(pair: Float[Array, "2 n"]) -> Float[Array, " q"]:
            return jnp.einsum("k,ki,kj,ijq->q", half, pair, pair, products) - products.mean(axis=(0, 1))

        axis = leading_axis(task_matrix(slopes, model.mean_hessian()))[1]
        # The rows of a split weigh its two groups by 2/N and 0: their difference has the signs of the split.
        chosen = jnp.abs((rows[:, 0] - rows[:, 1]) @ median_split(axis)).argmax()
        exact = jnp.linalg.norm(jax.vmap(drift)(rows), axis=1)
        squares = jax.vmap(sketched_drift)(rows) ** 2
        estimates = [jnp.sqrt(squares[:, :size].mean(axis=1)) for size in sketch_sizes]
        return exact, jnp.stack(estimates), chosen

    return jax.vmap(one)(tasks, directions)


@quick_jit
def _measure(tasks: UnequalTasks, rows: Float[Array, "s 2 n"], progress: Float[Array, " p"], steps: Any) -> _Measured:
    """What the merges of all splits do, for every draw and every ητ."""

    def one(tasks: UnequalTasks, progress: Float[Array, ""]) -> _Measured:
        model = tasks.model
        mean, rate, start = model.mean_hessian(), progress / steps, tasks.starts
        moved = branch_displacements(model, start, rows.reshape(-1, rows.shape[-1]), rate, steps)
        branches = moved.reshape(*rows.shape[:2], -1)
        merged = branches.mean(axis=1)
        joint, twice = (
            branch_displacements(model, start, model.uniform[None, :], rate, taken)[0] for taken in (steps, 2 * steps)
        )
        return _Measured(
            jnp.linalg.norm(merged - joint[None, :], axis=1),
            jax.vmap(lambda pair: merging_gain(mean, pair, jnp.full(2, 0.5)))(branches),
            excess_loss(model, mean, start[None, None, :] + branches).mean(axis=1),
            excess_loss(model, mean, start[None, :] + merged),
            excess_loss(model, mean, start + joint),
            excess_loss(model, mean, start + twice),
        )

    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(tasks, progress)
