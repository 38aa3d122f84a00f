"""Updates like Adam's: how much of the joint step does a merge lose because its groups' signs cancel?

Setting: task gradients that stay as they are on the way: a part shared by all tasks, one conflict axis on which tasks
lie at random places, and a part of each task's own. Every step sees the mean gradient of the run's tasks with Gaussian
noise of one size on each coordinate, in branches and joint training alike. The loss is linear, so the gain is zero and
mean branch loss equals merged loss; joint training at equal tokens makes twice the steps and twice the way.

Prediction. Without noise every coordinate on which two groups disagree cancels: ‖merged‖/‖joint‖ = √(1 - share of
disagreement), smaller for the PCA split than for a random one. Where noise is larger than the gradient, the mean sign
is linear in the gradient and the split leaves no trace. Adam with second moments of each branch's own follows sign
descent; with one second moment frozen for all branches it is linear, and merged equals joint at any noise: the control.
Refuted by a difference between PCA and random under the frozen second moment, or at low signal to noise.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from merit_theory.conflict import cosine_similarity
from merit_theory.linear_quadratic import group_weights
from merit_theory.partition import Partition, pca_partition, random_partition
from merit_theory.quick_jit import quick_jit
from merit_theory.sign_descent import disagreement, joint_update, merged_update
from simulations.intervals import mean_interval

SPLITS = ("PCA", "random")
OPTIMISERS = ("sign descent", "Adam, own second moments", "Adam, one frozen second moment")
BETAS = (0.9, 0.999)


@dataclass(frozen=True, slots=True)
class Config:
    """What to draw and how to train.

    Attributes:
        draws: ensembles of tasks, the unit of every interval.
        n_tasks: even.
        dimension: parameters.
        shared: spread of the gradient part that all tasks share, in units of each task's own part.
        axis: size of the conflict axis in the same unit.
        random_splits: random splits of each draw in the closed form.
        signal_to_noise: SNR, the root mean square of the joint gradient over the noise, per coordinate, ascending.
        steps: τ of the simulated runs.
        runs: of each branch, even; lengths are estimated without bias from pairs of them.
        seed: of everything random.
    """

    draws: int = 24
    n_tasks: int = 16
    dimension: int = 200
    shared: float = 0.25
    axis: float = 0.5
    random_splits: int = 50
    signal_to_noise: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 100.0)
    steps: int = 100
    runs: int = 4
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """Lengths and descents of merges relative to joint training; S values of the SNR; splits in the order of `SPLITS`.

    Attributes:
        signal_to_noise: float64 [S].
        disagreement: float64 [2, draws], share of coordinates whose group gradients differ in sign; random: a mean.
        noiseless_length: float64 [2, draws], ‖merged‖/‖joint‖ of sign descent without noise, in closed form.
        length: float64 [2, S, draws], the same with noise.
        descent: float64 [2, S, draws], loss decrease of the merge over that of joint training at equal steps, in closed
            form; half of it at equal tokens.
        simulated_length: float64 [3, 2, S, draws], ‖merged‖/‖joint‖ in simulated runs, in the order of `OPTIMISERS`,
            of the PCA split and one random split.
    """

    signal_to_noise: NDArray[np.float64]
    disagreement: NDArray[np.float64]
    noiseless_length: NDArray[np.float64]
    length: NDArray[np.float64]
    descent: NDArray[np.float64]
    simulated_length: NDArray[np.float64]

    @property
    def findings(self) -> dict[str, Any]:
        """What came out, with 95 % intervals over draws."""
        quoted = {"PCA": "1.00 / .98 / .84 / – / .52", "random": "1.00 / 1.00 / .97 / – / .78"}
        cancelled = np.sqrt(1 - self.disagreement[0])
        return {
            "share of coordinates where the groups' signs differ": {
                "predicted": {"PCA": 0.60, "random": 0.42},
                "found": dict(zip(SPLITS, map(mean_interval, self.disagreement), strict=True)),
            },
            "length of merged over joint without noise": {
                "predicted": {"PCA": 0.63, "random": 0.76},
                "found": dict(zip(SPLITS, map(mean_interval, self.noiseless_length), strict=True)),
            },
            "length without noise less √(1 - share of differing signs), PCA, largest": {
                "predicted": 0,
                "found": float(np.abs(self.noiseless_length[0] - cancelled).max()),
            },
            **{
                f"length of merged over joint, sign descent, {split}": {
                    "predicted": f"{quoted[split]} in another ensemble",
                    "found": self._by_noise(self.length[i]),
                }
                for i, split in enumerate(SPLITS)
            },
            "PCA less random, length of merged over joint, sign descent": {
                "predicted": "negative at high, zero at low signal to noise",
                "found": self._by_noise(self.length[0] - self.length[1]),
            },
            **{
                f"loss decrease of merged over joint at equal steps, sign descent, {split}": {
                    "predicted": "no claim",
                    "found": self._by_noise(self.descent[i]),
                }
                for i, split in enumerate(SPLITS)
            },
            **{
                f"length of merged over joint, simulated, {optimiser}, {split}": {
                    "predicted": "1" if "frozen" in optimiser else "as in closed form",
                    "found": self._by_noise(self.simulated_length[i, j]),
                }
                for i, optimiser in enumerate(OPTIMISERS)
                for j, split in enumerate(SPLITS)
            },
        }

    def _by_noise(self, values: NDArray[np.float64]) -> dict[str, Any]:
        return {f"SNR {snr:g}": mean_interval(row) for snr, row in zip(self.signal_to_noise, values, strict=True)}


def simulate(config: Config) -> Result:
    """Closed forms for many random splits, simulated runs for one."""
    rng = np.random.default_rng(config.seed)
    snr = np.array(config.signal_to_noise)
    gradients = [_draw_gradients(config, rng) for _ in range(config.draws)]
    pca = [pca_partition(cosine_similarity(rows), 1, centre="double", cut="count") for rows in gradients]
    random = [
        [random_partition(config.n_tasks, 2, rng) for _ in range(config.random_splits)] for _ in range(config.draws)
    ]
    of_pca = jnp.stack([_group_gradients(rows, [split]) for rows, split in zip(gradients, pca, strict=True)])
    of_random = jnp.stack([_group_gradients(rows, splits) for rows, splits in zip(gradients, random, strict=True)])
    lengths, descents = zip(*(_closed_form(groups, jnp.asarray(snr)) for groups in (of_pca, of_random)), strict=True)
    differing = [jax.vmap(jax.vmap(disagreement))(groups).mean(axis=1) for groups in (of_pca, of_random)]
    first = jnp.concatenate([of_pca, of_random[:, :1]], axis=1)
    simulated = _simulated_lengths(jax.random.key(config.seed), first, jnp.asarray(snr), config.steps, config.runs)
    return Result(
        signal_to_noise=snr,
        disagreement=np.stack(differing),
        noiseless_length=np.stack([np.asarray(length[0]) for length in lengths]),
        length=np.stack([np.asarray(length[1:]) for length in lengths]),
        descent=np.stack([np.asarray(descent[1:]) for descent in descents]),
        simulated_length=np.asarray(simulated),
    )


def _draw_gradients(config: Config, rng: np.random.Generator) -> NDArray[np.float64]:
    """Task gradients [N, d]: shared, along the conflict axis, and each task's own."""
    shared, axis = rng.standard_normal((2, config.dimension))
    places = rng.standard_normal((config.n_tasks, 1))
    own = rng.standard_normal((config.n_tasks, config.dimension))
    return config.shared * shared + config.axis * places * axis + own


def _group_gradients(gradients: NDArray[np.float64], splits: list[Partition]) -> Float[Array, "s 2 d"]:
    return jnp.stack([group_weights(split) @ gradients for split in splits])


def _noise(groups: Float[Array, "2 d"], snr: Float[Array, ""]) -> Float[Array, ""]:
    """σ at which the joint gradient has this signal to noise ratio per coordinate."""
    return jnp.sqrt((groups.mean(axis=0) ** 2).mean()) / snr


@quick_jit
def _closed_form(
    groups: Float[Array, "m s 2 d"], snr: Float[Array, " r"]
) -> tuple[Float[Array, "r_and_1 m"], Float[Array, "r_and_1 m"]]:
    """Length and descent of merged over joint, means over splits; the first row is without noise."""
    half = jnp.full(2, 0.5)

    def one(groups: Float[Array, "2 d"], noise: Float[Array, ""]) -> tuple[Array, Array]:
        merged, joint = merged_update(groups, half, noise), joint_update(groups, half, noise)
        slope = groups.mean(axis=0)
        return jnp.linalg.norm(merged) / jnp.linalg.norm(joint), (slope @ merged) / (slope @ joint)

    def at(snr: Float[Array, ""]) -> tuple[Array, Array]:
        lengths, descents = jax.vmap(jax.vmap(lambda pair: one(pair, _noise(pair, snr))))(groups)
        return lengths.mean(axis=1), descents.mean(axis=1)

    return jax.vmap(at)(jnp.concatenate([jnp.full(1, jnp.inf), snr]))


@partial(jax.jit, static_argnames=("steps", "runs"))
def _simulated_lengths(
    key: Array, groups: Float[Array, "m 2 2 d"], snr: Float[Array, " r"], steps: int, runs: int
) -> Float[Array, "3 2 r m"]:
    """‖merged‖/‖joint‖ of every optimiser, split, SNR and draw."""

    def one(key: Array, groups: Float[Array, "2 2 d"], snr: Float[Array, ""]) -> Float[Array, "3 2"]:
        means = jnp.concatenate([groups.reshape(4, -1), groups[0].mean(axis=0, keepdims=True)])
        moved = _displacements(key, means, _noise(groups[0], snr), steps, runs)
        merged = moved[:, :, :4].reshape(3, runs, 2, 2, -1).mean(axis=3)
        joint = moved[:, :, 4]
        square = partial(jnp.einsum, "or...d,or...d->o...")
        lengths = square(merged[:, ::2], merged[:, 1::2]) / square(joint[:, ::2], joint[:, 1::2])[:, None]
        # An inner product of independent runs has the right mean, and at low SNR it can fall below zero.
        return jnp.sqrt(jnp.maximum(lengths, 0.0))

    def at(key: Array, snr: Float[Array, ""]) -> Float[Array, "m 3 2"]:
        return jax.vmap(one, (0, 0, None))(jax.random.split(key, len(groups)), groups, snr)

    return jnp.moveaxis(jax.vmap(at)(jax.random.split(key, len(snr)), snr), (2, 3), (0, 1))


def _displacements(
    key: Array, means: Float[Array, "g d"], noise: Float[Array, ""], steps: int, runs: int
) -> Float[Array, "3 r g d"]:
    """Displacement over the learning rate of every optimiser, run and mean gradient; the last mean is the joint one."""
    shape = (runs, *means.shape)
    primer_key, key = jax.random.split(key)
    primer = means[-1:] + noise * jax.random.normal(primer_key, (steps, means.shape[1]))
    frozen = jnp.sqrt((primer**2).mean(axis=0))[None, None, :]

    def step(taken: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        moved, first, second = carry
        gradient = means[None, :, :] + noise * jax.random.normal(jax.random.fold_in(key, taken), shape)
        first = BETAS[0] * first + (1 - BETAS[0]) * gradient
        second = BETAS[1] * second + (1 - BETAS[1]) * gradient**2
        count = 1 + jnp.asarray(taken, dtype=gradient.dtype)
        corrected = first / (1 - BETAS[0] ** count)
        own = jnp.sqrt(second / (1 - BETAS[1] ** count))
        return moved - jnp.stack([jnp.sign(gradient), corrected / own, corrected / frozen]), first, second

    zero = jnp.zeros(shape)
    return jax.lax.fori_loop(0, steps, step, (jnp.zeros((3, *shape)), zero, zero))[0]
