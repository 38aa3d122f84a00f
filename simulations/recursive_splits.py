"""Is a finer split better? Gain and merged loss with 2, 4 and 8 groups, at equal steps and at equal tokens.

Setting: N quadratic tasks with one Hessian of spectrum λ_ℓ = 1/ℓ, recursive halving along the axes of the Gram matrix
or at random, at a small learning rate where the first-order model holds and at a large one where branches converge.
At equal steps a branch takes as many as the joint run; at equal tokens, MERIT's budget, 1/K of them.

Theory (F.13): under refinement the gain never falls at equal steps, for random halving as well, so its growth says
nothing for the rule; random gain grows as K-1 and that of the axes more slowly. At equal tokens the first-order gain is
divided by K² and falls. The merged model of gradient descent does not depend on the split at all (theorem A); under SGD
a finer split lowers the noise and fewer steps raise the bias.

Control: if a larger gain made a better merge, merged loss would fall from level to level wherever the gain rises, at
equal steps of gradient descent first of all.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray

from merit_theory.conflict import principal_axes
from merit_theory.hessian import DiagonalHessian
from merit_theory.linear_quadratic import LinearQuadraticModel, branch_displacements
from merit_theory.quick_jit import quick_jit
from merit_theory.recursive_split import (
    Budget,
    expected_random_level_gains,
    level_gains,
    recursive_median_order,
)
from merit_theory.sgd_law import expected_merged_loss
from merit_theory.spectral_filter import filtered_task_matrix
from merit_theory.split_gain import task_matrix
from simulations.intervals import mean_interval, share_interval

LEVELS = 3
RULES = ("axes of the Gram matrix", "random")
BUDGETS: tuple[Budget, Budget] = ("steps", "tokens")


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes of the experiment.

    Attributes:
        instances: independent mixtures.
        n_tasks: N, a multiple of 8.
        dimension: d.
        joint_steps: τ of the joint run and of a branch at equal steps, a multiple of 8.
        rates: η, ascending; the first should have η·joint_steps well below 1.
        distance: standard deviation of the mixture's optimum from the start, in units of the scatter of task optima.
        seed: of everything random.
    """

    instances: int = 32
    n_tasks: int = 32
    dimension: int = 32
    joint_steps: int = 64
    rates: tuple[float, ...] = (0.001, 0.5)
    distance: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_tasks % 8 or self.joint_steps % 8:
            raise ValueError(f"{self.n_tasks} tasks, {self.joint_steps} steps; three halvings need multiples of 8")


@dataclass(frozen=True, slots=True)
class Result:
    """Gains and losses on the mixture above its minimum. Axes [rates, 2 rules, 2 budgets, 3 levels, instances].

    Attributes:
        rates: float64 [rates], η.
        gain: exact, of τ steps of gradient descent.
        first_order_gain: of the model in which a branch moves τ steps along its first gradient.
        random_gain: float64 [rates, 2 budgets, 3 levels, instances], mean first-order gain over random halvings.
        merged_loss: of gradient descent.
        sgd_merged_loss: expected, of SGD with one task per step, with replacement.
        joint_loss: float64 [2, rates, instances], joint training by gradient descent and by SGD.
    """

    rates: NDArray[np.float64]
    gain: NDArray[np.float64]
    first_order_gain: NDArray[np.float64]
    random_gain: NDArray[np.float64]
    merged_loss: NDArray[np.float64]
    sgd_merged_loss: NDArray[np.float64]
    joint_loss: NDArray[np.float64]

    @property
    def findings(self) -> dict[str, Any]:
        """What came out, with 95 % intervals over mixtures."""
        steps, tokens = 0, 1
        falls = np.diff(self.gain[:, :, steps], axis=2) < -1e-12 * self.gain[:, :, steps].max(axis=2, keepdims=True)
        equal = np.abs(self.merged_loss[:, :, steps] / self.joint_loss[0][:, None, None] - 1)
        ratio = self.first_order_gain[0, 0, steps] / self.random_gain[0, steps]
        expected = [1.0, 3.0, 7.0]
        random_growth = self.first_order_gain[0, 1, steps] / self.random_gain[0, steps, :1]
        matched = self.gain[:, :, tokens] / self.gain[:, :, tokens, :1].mean(axis=-1, keepdims=True)
        return {
            "share of refinements that lower the gain at equal steps": {"predicted": 0, "found": float(falls.mean())},
            "gain of random halving at equal steps, first order, over its expectation with 2 groups": {
                "predicted": dict(zip(_groups(), expected, strict=True)),
                "found": self._levels(random_growth),
            },
            "gain of the axes over that of random halving, first order, equal steps": {
                "predicted": "falls with the level",
                "found": self._levels(ratio),
            },
            "gain at equal tokens over its mean with 2 groups": {
                "predicted": {
                    "random, small ητλ": [1.0, 0.75, 0.4375],
                    "axes, small ητλ": "falls faster",
                    "converged": "open",
                },
                "found": {
                    f"{rule}, η = {rate:g}": self._levels(matched[i, j])
                    for i, rate in enumerate(self.rates)
                    for j, rule in enumerate(RULES)
                },
            },
            "share of mixtures in which the gain of the axes falls from level to level at equal tokens": {
                "predicted": "1 in the first-order model; no claim for branches that converge",
                "found": {
                    f"η = {rate:g}": share_interval((np.diff(self.gain[i, 0, tokens], axis=0) < 0).all(axis=0))
                    for i, rate in enumerate(self.rates)
                },
            },
            "exact gain over the first-order gain, 2 groups along the axes, equal steps": {
                "predicted": "1 where ητλ is small",
                "found": {
                    f"η = {rate:g}": mean_interval(self.gain[i, 0, steps, 0] / self.first_order_gain[i, 0, steps, 0])
                    for i, rate in enumerate(self.rates)
                },
            },
            "gradient descent at equal steps: largest relative difference of merged and joint loss, any split": {
                "predicted": "rounding: growing gain, same merged model",
                "found": float(equal.max()),
            },
            **{
                f"merged over joint loss at equal {budget}, {how}, η = {rate:g}": {
                    "predicted": self._told(how, budget),
                    "found": {
                        rule: self._levels(losses[i, j, b] / self.joint_loss[k, i]) for j, rule in enumerate(RULES)
                    },
                }
                for k, (how, losses) in enumerate(
                    (("gradient descent", self.merged_loss), ("SGD", self.sgd_merged_loss))
                )
                for b, budget in enumerate(BUDGETS)
                for i, rate in enumerate(self.rates)
            },
        }

    def _told(self, how: str, budget: str) -> str:
        if how == "gradient descent":
            return "1" if budget == "steps" else "above 1, the same for all rules"
        return "below 1, falling with the level" if budget == "steps" else "less noise against more bias"

    def _levels(self, values: NDArray[np.float64]) -> dict[str, Any]:
        """An interval for every level, from [3 levels, instances]."""
        return {name: mean_interval(row) for name, row in zip(_groups(), values, strict=True)}


def _groups() -> list[str]:
    return [f"{2**level} groups" for level in range(1, LEVELS + 1)]


def simulate(config: Config) -> Result:
    """Halve the mixtures three times by either rule and train all groups.

    Args:
        config: sizes and seed.
    """
    curvatures = 1 / np.arange(1.0, config.dimension + 1)
    gains, first_order, random_gains, merged, stochastic, joint = ([] for _ in range(6))
    for rng in np.random.default_rng(config.seed).spawn(config.instances):
        optima = rng.standard_normal((config.n_tasks, config.dimension))
        optima += config.distance * rng.standard_normal(config.dimension)
        gradients = -optima * curvatures
        axes = principal_axes(gradients @ gradients.T, LEVELS, centre="double").coordinates
        orders = jnp.stack([recursive_median_order(axes), jnp.asarray(rng.permutation(config.n_tasks))])
        matrix = task_matrix(gradients, DiagonalHessian(jnp.asarray(curvatures)))
        made = [
            _both_budgets(config, matrix, jnp.asarray(curvatures), jnp.asarray(optima), orders, r) for r in config.rates
        ]
        for store, rows in zip(
            (gains, first_order, random_gains, merged, stochastic, joint), zip(*made, strict=True), strict=True
        ):
            store.append(np.stack(rows))
    joint_loss = np.moveaxis(np.stack(joint), 0, -1)
    return Result(
        rates=np.array(config.rates),
        gain=np.moveaxis(np.stack(gains), 0, -1),
        first_order_gain=np.moveaxis(np.stack(first_order), 0, -1),
        random_gain=np.moveaxis(np.stack(random_gains), 0, -1),
        merged_loss=np.moveaxis(np.stack(merged), 0, -1),
        sgd_merged_loss=np.moveaxis(np.stack(stochastic), 0, -1),
        joint_loss=np.moveaxis(joint_loss, 1, 0),
    )


def _both_budgets(config: Config, matrix: Array, curvatures: Array, optima: Array, orders: Array, rate: float) -> Any:
    measured = _measure(matrix, curvatures, optima, orders, jnp.asarray(rate), config.joint_steps)
    return [np.asarray(part) for part in measured]


@partial(quick_jit, static_argnames="joint_steps")
def _measure(
    matrix: Float[Array, "n n"],
    curvatures: Float[Array, " d"],
    optima: Float[Array, "n d"],
    orders: Float[Array, "2 n"],
    rate: Float[Array, ""],
    joint_steps: int,
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Gains, first-order gains [2, 2, 3], mean random gains [2, 3], losses [2, 2, 3] twice, joint losses [2]."""
    model = LinearQuadraticModel(DiagonalHessian(curvatures), optima)
    start = jnp.zeros(model.dimension)
    minimum = model.loss(model.optimum())

    def losses(rows: Float[Array, "k n"], steps: int) -> tuple[Array, Array]:
        shares = jnp.full(len(rows), 1 / len(rows))
        moved = branch_displacements(model, start, rows, rate, steps).mean(axis=0)
        return model.loss(start + moved) - minimum, expected_merged_loss(
            model, start, rows, shares, rate, steps
        ) - minimum

    def of_order(order: Array) -> tuple[Array, Array, Array, Array]:
        exact, plain, spread = [], [], []
        for budget in BUDGETS:
            first_order = level_gains(matrix, order, LEVELS, rate * joint_steps, budget)
            gains, ends = [], []
            for level in range(1, LEVELS + 1):
                n_groups = 2**level
                steps = joint_steps // (n_groups if budget == "tokens" else 1)
                filtered = filtered_task_matrix(curvatures, optima, rate, steps)
                gains.append(level_gains(filtered, order, level, 1.0, "steps")[level - 1])
                groups = order.reshape(n_groups, -1)
                rows = jax.nn.one_hot(groups, len(order), dtype=jnp.float64).mean(axis=1)
                ends.append(jnp.stack(losses(rows, steps)))
            exact.append(jnp.stack(gains))
            plain.append(first_order)
            spread.append(jnp.stack(ends, axis=1))
        both = jnp.stack(spread)
        return jnp.stack(exact), jnp.stack(plain), both[:, 0], both[:, 1]

    exact, plain, merged, stochastic = jax.vmap(of_order)(orders)
    chance = [expected_random_level_gains(matrix, LEVELS, rate * joint_steps, budget) for budget in BUDGETS]
    joint = jnp.stack(losses(model.uniform[None, :], joint_steps))
    return exact, plain, jnp.stack(chance), merged, stochastic, joint
