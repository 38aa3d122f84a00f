"""Stochastic gradient descent in the linear-quadratic model, run with random draws: the check on its law."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from merit_theory.linear_quadratic import LinearQuadraticModel
from merit_theory.precision import as_float64


def draws_with_replacement(
    key: Array, task_weights: Float[Array, " n"], steps: int, batch: int = 1
) -> Int[Array, "steps b"]:
    """Tasks of τ batches of b, each drawn independently by weight.

    >>> draws_with_replacement(jax.random.key(0), jnp.array([0.0, 1.0]), steps=3).tolist()
    [[1], [1], [1]]
    """
    return jax.random.categorical(key, jnp.log(task_weights), shape=(steps, batch))


def draws_reshuffled(key: Array, population: Int[Array, " m"], steps: int, batch: int = 1) -> Int[Array, "steps b"]:
    """Tasks of τ batches of b, in passes over a population of which each member comes once, shuffled before each pass.

    Args:
        key: random key.
        population: int [m], the task of every example; m is a multiple of the batch.
        steps: τ, of any number of passes.
        batch: b, examples in a step.

    Raises:
        ValueError: if the population cannot be cut into batches.

    >>> draws_reshuffled(jax.random.key(0), jnp.array([5, 7]), steps=4).reshape(2, 2).sum(axis=1).tolist()
    [12, 12]
    """
    if len(population) % batch:
        raise ValueError(f"a population of {len(population)} cannot be cut into batches of {batch}")
    passes = -(-steps * batch // len(population))
    orders = jax.vmap(lambda one: jax.random.permutation(one, population))(jax.random.split(key, passes))
    return orders.reshape(-1, batch)[:steps]


def sgd_displacement(
    model: LinearQuadraticModel,
    start: Float[Array, " d"],
    draws: Int[Array, "steps b"],
    learning_rate: float | Float[Array, ""],
    key: Array,
) -> Float[Array, " d"]:
    """Displacement of one run over given draws of tasks; a fresh example of the drawn task each time.

    Many runs: ``jax.vmap`` over draws and keys.

    Args:
        model: the tasks.
        start: float64 [d].
        draws: int [τ, b], tasks of every batch.
        learning_rate: η.
        key: for the scatter of the examples within tasks.

    >>> model = LinearQuadraticModel(jnp.eye(1), jnp.array([[1.0], [-1.0]]))
    >>> sgd_displacement(model, jnp.zeros(1), jnp.array([[0], [1]]), 0.5, jax.random.key(0)).tolist()
    [-0.25]
    """
    origin = as_float64("the start", start)
    rate = as_float64("the learning rate", learning_rate)
    scatter = model.scatter
    noise = jax.random.normal(key, (*draws.shape, scatter.shape[1]), dtype=scatter.dtype)

    def step(
        moved: Float[Array, " d"], drawn: tuple[Int[Array, " b"], Float[Array, "b q"]]
    ) -> tuple[Float[Array, " d"], None]:
        tasks, normal = drawn
        hessian = model.hessian
        if not model.has_shared_hessian:
            hessian = jax.tree.map(lambda leaf: leaf[tasks], hessian)
        optima = model.optima[tasks] + normal @ scatter.T
        return moved - rate * hessian.product((origin + moved)[None, :] - optima).mean(axis=0), None

    moved, _ = jax.lax.scan(step, jnp.zeros_like(origin), (draws, noise))
    return moved
