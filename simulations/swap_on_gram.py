"""Is a split that swaps tasks to spread raw gradients better? Swap search on the Gram matrix, an idea of our own.

Setting: stochastic gradient descent on tasks with one Hessian, two branches merged uniformly. Then the split acts only
through gradient noise (theorem B): lower variance within groups. Swapping pairs of tasks on the Gram matrix of raw
gradients, K₀, lowers just that. Expected losses are exact; examples come with replacement or in reshuffled passes.

Prediction: the split found by swaps has a lower merged loss than a random one; the advantage grows with the learning
rate and the epochs, and shrinks when passes are reshuffled (by 1 - (2/x)tanh(x/2) for one pass, x = ητλ) and when the
examples of a task differ. Control: joint training on batches of two, one example from each group, has the same law
without any merging, so a benefit that it does not match would refute theorem B; joint training on plain batches of two
has the noise of a random split's merge or more.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from merit_theory.conflict import cosine_similarity, gram_matrix
from merit_theory.hessian import DiagonalHessian
from merit_theory.linear_quadratic import LinearQuadraticModel, branch_displacements, group_weights
from merit_theory.partition import Partition, pca_partition, random_partition, swap_refined
from merit_theory.quick_jit import quick_jit
from merit_theory.sgd_law import expected_merged_loss, sgd_noise_loss
from merit_theory.sgd_run import sgd_displacement
from simulations.intervals import mean_interval

SPLITS = ("random", "PCA of cosines", "PCA of cosines and swaps on K₀")
SAMPLINGS = ("with replacement", "reshuffled")
JOINTS = ("equal steps, batch 1", "equal tokens, batch 1", "equal steps and tokens, batch 2")


@dataclass(frozen=True, slots=True)
class Config:
    """What to draw and how to train.

    Attributes:
        draws: mixtures, the unit of every interval.
        n_tasks: even.
        dimension: parameters, of curvature 1, 1/2, 1/3 …
        away: distance of the start from the optimum of the mixture, in spreads of the task optima.
        random_splits: of every draw, for the mean random split.
        examples_per_task: in the population of which a reshuffled pass takes each once.
        noise_to_signal: variance of an example's optimum about its task's over that of the tasks' optima.
        learning_rates: η, ascending.
        epochs: passes of a branch over its examples, ascending.
        runs: of stratified joint training in each draw, for the control.
        seed: of everything random.
    """

    draws: int = 16
    n_tasks: int = 16
    dimension: int = 16
    away: float = 1.0
    random_splits: int = 30
    examples_per_task: int = 4
    noise_to_signal: tuple[float, ...] = (0.0, 2.4)
    learning_rates: tuple[float, ...] = (0.03, 0.1, 0.3)
    epochs: tuple[int, ...] = (1, 8)
    runs: int = 200
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """Expected losses on the mixture, above its minimum; axes 2 samplings, Z noise levels, E epochs, R rates, draws.

    Attributes:
        noise_to_signal: float64 [Z].
        epochs: int64 [E].
        learning_rates: float64 [R], η.
        within_share: float64 [3 splits, draws], gradient variance within groups over that of all tasks.
        branch_loss: float64 [3, 2, Z, E, R, draws], mean of the branches, for each of `SPLITS`; the random split is a
            mean over many.
        merged_loss: float64 [3, 2, Z, E, R, draws].
        joint_loss: float64 [3, 2, Z, E, R, draws], in the order of `JOINTS`.
        stratified_ratio: float64 [2, draws], loss of simulated joint training on batches stratified by the swapped
            groups over the merged loss in closed form, at the largest rate, with the fewest epochs and the first noise
            level.
    """

    noise_to_signal: NDArray[np.float64]
    epochs: NDArray[np.int64]
    learning_rates: NDArray[np.float64]
    within_share: NDArray[np.float64]
    branch_loss: NDArray[np.float64]
    merged_loss: NDArray[np.float64]
    joint_loss: NDArray[np.float64]
    stratified_ratio: NDArray[np.float64]

    @property
    def gain(self) -> NDArray[np.float64]:
        """Mean branch loss less merged loss; float64 [3, 2, Z, E, R, draws]."""
        return self.branch_loss - self.merged_loss

    @property
    def advantage(self) -> NDArray[np.float64]:
        """Share of the random split's merged loss that the swapped split saves; float64 [2, Z, E, R, draws]."""
        return 1 - self.merged_loss[2] / self.merged_loss[0]

    @property
    def findings(self) -> dict[str, Any]:
        """What came out, with 95 % intervals over draws."""
        saved = self.merged_loss[0] - self.merged_loss[2]
        cosine_saved = self.merged_loss[0] - self.merged_loss[1]
        return {
            "gradient variance within groups over that of all tasks": {
                "predicted": "lowest after swaps",
                "found": dict(zip(SPLITS, map(mean_interval, self.within_share), strict=True)),
            },
            **{
                f"share of the random split's merged loss saved by swaps on K₀, {sampling}": {
                    "predicted": "grows with η and epochs" if i == 0 else "smaller than with replacement",
                    "found": self._table(self.advantage[i]),
                }
                for i, sampling in enumerate(SAMPLINGS)
            },
            "saving by swaps, reshuffled over with replacement": {
                "predicted": "below 1",
                "found": self._table(saved[1] / saved[0]),
            },
            "saving by PCA of cosines over saving by swaps, with replacement": {
                "predicted": "below 1",
                "found": self._table(cosine_saved[0] / saved[0]),
            },
            "stratified joint training over the merge of the swapped split": {
                "predicted": 1,
                "found": dict(zip(SAMPLINGS, map(mean_interval, self.stratified_ratio), strict=True)),
            },
            **{
                f"swapped merge over joint, {name}, reshuffled": {
                    "predicted": "below 1" if k == 2 else "no claim",
                    "found": self._table(self.merged_loss[2, 1] / self.joint_loss[k, 1]),
                }
                for k, name in enumerate(JOINTS)
            },
            "gain of the swapped split over the random split's, with replacement": {
                "predicted": "above 1",
                "found": self._table(self.gain[2, 0] / self.gain[0, 0]),
            },
        }

    def _table(self, values: NDArray[np.float64]) -> dict[str, Any]:
        """An interval over draws for every noise level, number of epochs and rate, from [Z, E, R, draws]."""
        return {
            f"noise {noise:g}, {epochs} epochs, η = {rate:g}": mean_interval(values[i, j, k])
            for i, noise in enumerate(self.noise_to_signal)
            for j, epochs in enumerate(self.epochs.tolist())
            for k, rate in enumerate(self.learning_rates)
        }


class _Mixtures(NamedTuple):
    """Draws of tasks: optima [draws, N, d], starts [draws, d], group weights [draws, 2 + S, 2, N], random ones last."""

    optima: Float[Array, "*m n d"]
    starts: Float[Array, "*m d"]
    rows: Float[Array, "*m s 2 n"]


def simulate(config: Config) -> Result:
    """Expected losses of all splits in closed form, and stratified joint training by simulation."""
    rng = np.random.default_rng(config.seed)
    curvatures = 1 / np.arange(1.0, config.dimension + 1)
    optima = rng.standard_normal((config.draws, config.n_tasks, config.dimension))
    starts = optima.mean(axis=1) + config.away * rng.standard_normal((config.draws, config.dimension))
    splits = [_splits((start - tasks) * curvatures, config, rng) for start, tasks in zip(starts, optima, strict=True)]
    rows = jnp.stack([jnp.stack([group_weights(split) for split in of_draw]) for of_draw in splits])
    mixtures = _Mixtures(jnp.asarray(optima), jnp.asarray(starts), rows)
    hessian = DiagonalHessian(jnp.asarray(curvatures))
    noise, rates = jnp.array(config.noise_to_signal), jnp.array(config.learning_rates)
    pass_steps = config.n_tasks // 2 * config.examples_per_task
    losses = [
        [_expected(mixtures, hessian, noise, rates, epochs * pass_steps, population) for epochs in config.epochs]
        for population in (None, pass_steps)
    ]
    branch, merged, joint = (
        np.stack([np.stack([np.asarray(cell[part]) for cell in row]) for row in losses]).transpose(5, 0, 3, 1, 4, 2)
        for part in range(3)
    )
    simulated = _stratified(
        jax.random.key(config.seed), mixtures, _draws(splits, config, rng), hessian, noise[0], rates[-1]
    )
    return Result(
        noise_to_signal=np.array(config.noise_to_signal),
        epochs=np.array(config.epochs, dtype=np.int64),
        learning_rates=np.array(config.learning_rates),
        within_share=_within_share(np.asarray(rows), optima * curvatures),
        branch_loss=branch,
        merged_loss=merged,
        joint_loss=joint,
        stratified_ratio=np.asarray(simulated) / merged[2, :, 0, 0, -1],
    )


def _splits(gradients: NDArray[np.float64], config: Config, rng: np.random.Generator) -> list[Partition]:
    """PCA of cosines, the same after swaps on K₀, then random splits."""
    pca = pca_partition(cosine_similarity(gradients), 1, centre="double", cut="count")
    random = [random_partition(config.n_tasks, 2, rng) for _ in range(config.random_splits)]
    return [pca, swap_refined(pca, gram_matrix(gradients)), *random]


def _within_share(rows: NDArray[np.float64], gradients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gradient variance within groups over that of all tasks, float64 [3, draws], in the order of `SPLITS`."""
    centred = gradients - gradients.mean(axis=1, keepdims=True)
    between = ((rows @ centred[:, None]) ** 2).sum(axis=-1).mean(axis=-1)
    share = 1 - between / (centred**2).sum(axis=-1).mean(axis=-1)[:, None]
    return np.stack([share[:, 2:].mean(axis=1), share[:, 0], share[:, 1]])


@partial(quick_jit, static_argnames=("steps", "population"))
def _expected(
    mixtures: _Mixtures,
    hessian: DiagonalHessian,
    noise: Float[Array, " z"],
    rates: Float[Array, " r"],
    steps: int,
    population: int | None,
) -> tuple[Float[Array, "m z r 3"], Float[Array, "m z r 3"], Float[Array, "m z r 3"]]:
    """Losses of branches and merge for each of `SPLITS`, and of joint training for each of `JOINTS`."""
    half, alone = jnp.full(2, 0.5), jnp.ones(1)
    everything = None if population is None else 2 * population

    def one(mixture: _Mixtures, noise: Array, rate: Array) -> tuple[Array, Array, Array]:
        model = LinearQuadraticModel(hessian, mixture.optima, jnp.sqrt(noise) * jnp.eye(hessian.dimension))
        least = model.loss(model.optimum())

        def merged(rows: Float[Array, "2 n"]) -> Array:
            return expected_merged_loss(model, mixture.starts, rows, half, rate, steps, population=population) - least

        def branch(rows: Float[Array, "2 n"]) -> Array:
            moved = mixture.starts[None, :] + branch_displacements(model, mixture.starts, rows, rate, steps)
            spread = jax.vmap(lambda row: sgd_noise_loss(model, row, rate, steps, population=population))(rows)
            return (jax.vmap(model.loss)(moved) + spread).mean() - least

        def joint(taken: int, batch: int) -> Array:
            row = model.uniform[None, :]
            loss = expected_merged_loss(
                model, mixture.starts, row, alone, rate, taken, batch=batch, population=everything
            )
            return loss - least

        arms = [jax.vmap(of_split)(mixture.rows) for of_split in (branch, merged)]
        branches, merges = (jnp.stack([values[2:].mean(), values[0], values[1]]) for values in arms)
        return branches, merges, jnp.stack([joint(steps, 1), joint(2 * steps, 1), joint(steps, 2)])

    over_rates = jax.vmap(one, (None, None, 0))
    return jax.vmap(jax.vmap(over_rates, (None, 0, None)), (0, None, None))(mixtures, noise, rates)


def _draws(splits: list[list[Partition]], config: Config, rng: np.random.Generator) -> Int[Array, "2 m r t 2"]:
    """Tasks of batches that take one example from each group of the swapped split, for the fewest epochs.

    Returns:
        int [2 samplings, draws, runs, steps, 2].
    """
    groups = np.array([of_draw[1].groups for of_draw in splits])
    populations = np.repeat(groups, config.examples_per_task, axis=-1)[:, None, None]
    shape = (config.draws, config.runs, config.epochs[0], *populations.shape[-2:])
    reshuffled = rng.permuted(np.broadcast_to(populations, shape), axis=-1)
    places = rng.integers(groups.shape[-1], size=shape)
    fresh = np.take_along_axis(np.broadcast_to(groups[:, None, None], (*shape[:-1], groups.shape[-1])), places, axis=-1)
    batches = np.moveaxis(np.stack([fresh, reshuffled]), 4, 5)
    return jnp.asarray(batches.reshape(2, config.draws, config.runs, -1, 2))


@quick_jit
def _stratified(
    key: Array,
    mixtures: _Mixtures,
    draws: Int[Array, "2 m r t 2"],
    hessian: DiagonalHessian,
    noise: Float[Array, ""],
    rate: Float[Array, ""],
) -> Float[Array, "2 m"]:
    """Mean loss of joint runs over given batches, for both samplings."""

    def of_draw(key: Array, mixture: _Mixtures, draws: Int[Array, "2 r t 2"]) -> Float[Array, " 2"]:
        model = LinearQuadraticModel(hessian, mixture.optima, jnp.sqrt(noise) * jnp.eye(hessian.dimension))

        def run(key: Array, drawn: Int[Array, "t 2"]) -> Array:
            return model.loss(mixture.starts + sgd_displacement(model, mixture.starts, drawn, rate, key))

        losses = jax.vmap(jax.vmap(run))(jax.random.split(key, draws.shape[:2]), draws)
        return losses.mean(axis=1) - model.loss(model.optimum())

    return jax.vmap(of_draw, (0, 0, 1))(jax.random.split(key, draws.shape[1]), mixtures, draws).T
