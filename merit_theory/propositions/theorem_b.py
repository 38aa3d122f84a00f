"""Theorem B: expected loss of merged SGD branches under one Hessian."""

from itertools import permutations, product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from merit_theory.linear_quadratic import LinearQuadraticModel
from merit_theory.propositions.proposition import Batch, Claim, Ensemble, Hypothesis, Numbers, Proposition, Sides
from merit_theory.sgd_law import expected_merged_loss

GROUPS = np.array([[0, 1, 2], [3, 4, 5]])
ROWS = np.kron(np.eye(2), np.full((1, 3), 1 / 3))
STEPS = 3
INDEPENDENT = np.array(list(product(range(3), repeat=STEPS)))
SHUFFLED = np.array(list(permutations(range(3))))


class SgdTasks(NamedTuple):
    """Six tasks in two groups of three; a step takes one task of the group.

    Attributes:
        hessians: float64 [6, d, d].
        optima: float64 [6, d].
        start: float64 [d].
        learning_rate: float64.
        orders: int64 [s, 3], equally likely sequences of a group's tasks.
    """

    hessians: Float[Numbers, "6 d d"]
    optima: Float[Numbers, "6 d"]
    start: Float[Numbers, " d"]
    learning_rate: Float[Numbers, ""]
    orders: Int[Numbers, "s 3"]


def enumerated_loss(tasks: SgdTasks) -> Float[Array, ""]:
    """Mixture loss of the merge, averaged over every pair of orders of the two branches."""
    model = LinearQuadraticModel(tasks.hessians, tasks.optima)

    def end(order: Int[Array, " 3"]) -> Float[Array, " d"]:
        place = tasks.start
        for step in range(STEPS):
            task = order[step]
            place = place - tasks.learning_rate * tasks.hessians[task] @ (place - tasks.optima[task])
        return place

    first, second = (jax.vmap(end)(jnp.asarray(group)[tasks.orders]) for group in GROUPS)
    merged = (first[:, None, :] + second[None, :, :]) / 2
    return jax.vmap(jax.vmap(model.loss))(merged).mean()


def law(tasks: SgdTasks, population: int | None) -> Float[Array, ""]:
    """The closed form with the mean Hessian."""
    model = LinearQuadraticModel(tasks.hessians.mean(axis=0), tasks.optima)
    return expected_merged_loss(
        model, tasks.start, jnp.asarray(ROWS), jnp.full(2, 0.5), tasks.learning_rate, STEPS, population=population
    )


def shared(tasks: SgdTasks) -> Array:
    """Whether all tasks have one Hessian."""
    return jnp.abs(tasks.hessians - tasks.hessians[:1]).max() <= 1e-12 * jnp.abs(tasks.hessians).max()


def _draws_are_independent(tasks: SgdTasks) -> Array:
    """Whether every two steps of the sequences are independent and uniform."""
    chosen = jax.nn.one_hot(tasks.orders, 3, dtype=jnp.float64)
    pairs = jnp.einsum("sti,suj->tuij", chosen, chosen) / len(tasks.orders)
    different = 1 - jnp.eye(STEPS)
    return (jnp.abs(pairs - 1 / 9) * different[:, :, None, None]).max() < 1e-9


def ensemble(orders: Int[np.ndarray, "s 3"]) -> Ensemble:
    """Random tasks with one Hessian under given orders."""

    def draw(rng: np.random.Generator, n: int, d: int = 2) -> Batch:
        return {
            "factor": rng.standard_normal((n, d, d)),
            "optima": rng.standard_normal((n, 6, d)),
            "start": rng.standard_normal((n, d)),
            "edge": rng.uniform(-3.0, 0.8, n),
        }

    def build(drawn: Batch) -> SgdTasks:
        hessian = drawn["factor"] @ drawn["factor"].T
        rate = jnp.exp(drawn["edge"]) / jnp.trace(hessian)
        hessians = jnp.broadcast_to(hessian, (6, *hessian.shape))
        return SgdTasks(hessians, drawn["optima"], drawn["start"], rate, jnp.asarray(orders))

    return Ensemble(draw, build)


def line(orders: Int[np.ndarray, "s 3"], curvatures: tuple[float, ...] = (1.0,) * 6) -> SgdTasks:
    """Tasks with one parameter and optima 1, 2, 3, −1, −2, −3."""
    optima = np.array([1.0, 2.0, 3.0, -1.0, -2.0, -3.0]).reshape(6, 1)
    return SgdTasks(np.array(curvatures).reshape(6, 1, 1), optima, np.ones(1), np.array(0.5), orders)


def _sides(tasks: SgdTasks) -> Sides:
    exact = enumerated_loss(tasks)
    return Sides(exact, law(tasks, None), exact)


OWN_HESSIANS = (1.0, 2.0, 0.5, 1.0, 1.0, 1.0)

PROPOSITION = Proposition(
    id="theorem-b",
    reference="Theorem B of this project",
    statement="Under one Hessian and tasks drawn with replacement, the split changes the expected merged loss only "
    "through the gradient noise within groups: the law of joint SGD on batches stratified by group.",
    scope="exact",
    verdict="holds",
    claim=Claim(
        reads="E L(θ̄) = bias(2τ) + Σ_ℓ within-group noise/K, against all 27² pairs of orders",
        sides=_sides,
        relation="=",
        hypotheses=(
            Hypothesis("all tasks share one Hessian", shared, without=line(INDEPENDENT, OWN_HESSIANS)),
            Hypothesis("tasks are drawn with replacement", _draws_are_independent, without=line(SHUFFLED)),
        ),
        ensembles=(ensemble(INDEPENDENT),),
        tolerance=1e-11,
    ),
)
