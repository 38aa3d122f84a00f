"""Mean and spread of stochastic gradient descent in the linear-quadratic model, exact, by how examples are drawn.

Every step uses a batch of b examples, each of a task drawn from the branch's tasks: independently (with replacement),
or in passes over a fixed population of which every example comes once, freshly shuffled before each pass.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from merit_theory.linear_quadratic import LinearQuadraticModel, branch_displacements, effective_steps
from merit_theory.precision import as_float64, check_unit_sum


def spread_with_replacement(progress: Float[Array, "..."], steps: int, batch: int = 1) -> Float[Array, "..."]:
    r"""Variance of the displacement along an eigendirection, per unit of variance of the drawn optimum.

    $$\frac{x^2}{b} \sum_{t<\tau} (1-x)^{2t} = \frac{x^2}{b}\, \varphi_\tau(x(2-x)), \qquad x = \eta\lambda$$

    Args:
        progress: float64 of any shape, x = learning rate times eigenvalue.
        steps: τ.
        batch: b, examples in a step.

    >>> spread_with_replacement(jnp.array([0.5, 2.0]), 2).tolist()
    [0.3125, 8.0]
    """
    progress = as_float64("progress", progress)
    return progress**2 / batch * effective_steps(progress * (2 - progress), steps)


def spread_reshuffled(
    progress: Float[Array, "..."], steps: int, population: int, batch: int = 1
) -> Float[Array, "..."]:
    r"""The same where every pass takes each member of a population once, in a fresh uniformly random order.

    Two different members of a population of n have covariance -σ²/(n-1), so a pass of m = n/b steps leaves
    \(x^2 \frac{m}{n-1} \sum_{t<m} (c_t - \bar c)^2\) with \(c_t = (1-x)^t\): only what the order changes. The passes
    are independent, and a part of a pass at the end adds its share. It vanishes as x → 0, unlike the spread with
    replacement; the ratio tends to `one_pass_factor` in a long pass of small steps.

    Args:
        progress: float64 of any shape, x = learning rate times eigenvalue.
        steps: τ, of any number of passes.
        population: n, at least 2 and a multiple of the batch.
        batch: b, examples in a step.

    Raises:
        ValueError: if the population cannot be cut into batches, or has one member.

    >>> spread_reshuffled(jnp.array([0.5]), 2, population=2).tolist()
    [0.0625]
    """
    if population < 2 or population % batch:
        raise ValueError(f"a population of {population} has no passes in batches of {batch}; expected a multiple, ≥ 2")
    progress = as_float64("progress", progress)
    pass_steps = population // batch
    passes, rest = divmod(steps, pass_steps)
    decay = progress * effective_steps(progress, pass_steps)
    whole = _spread_within_pass(progress, pass_steps, pass_steps) * effective_steps(decay * (2 - decay), passes)
    total = _spread_within_pass(progress, rest, pass_steps) + (1 - progress) ** (2 * rest) * whole
    return progress**2 / (population - 1) * total


@partial(jax.jit, static_argnames=("taken", "pass_steps"))
def _spread_within_pass(progress: Float[Array, "..."], taken: int, pass_steps: int) -> Float[Array, "..."]:
    """The sum m Σ c_t² - (Σ c_t)² over the steps t < q taken of a pass of m, as (m - q) Σ c_t² + q Σ (c_t - c̄)².

    The second sum is x² Σ (φ_t - φ̄)², accumulated by Welford's recurrence, so that nothing cancels for small x.
    """

    def step(index: int, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        value, mean, squares = carry
        difference = value - mean
        mean = mean + difference / (index + 1)
        return 1 + (1 - progress) * value, mean, squares + difference * (value - mean)

    zero = jnp.zeros_like(progress)
    _, _, squares = jax.lax.fori_loop(0, taken, step, (zero, zero, zero))
    untaken = (pass_steps - taken) * effective_steps(progress * (2 - progress), taken)
    return untaken + taken * progress**2 * squares


def one_pass_factor(progress: Float[Array, "..."]) -> Float[Array, "..."]:
    r"""Spread of one long reshuffled pass of small steps over that with replacement, \(1 - \tfrac2X \tanh\tfrac X2\).

    With X = ητλ, the progress of the whole pass.

    Args:
        progress: float64 of any shape, X ≥ 0.

    >>> one_pass_factor(jnp.array([0.0, 0.1, 1.0, 5.0, 30.0])).round(4).tolist()
    [0.0, 0.0008, 0.0758, 0.6054, 0.9333]
    """
    half = as_float64("progress", progress) / 2
    small = jnp.abs(half) < 1e-2
    safe = jnp.where(small, 1.0, half)
    series = half**2 / 3 - 2 * half**4 / 15 + 17 * half**6 / 315
    return jnp.where(small, series, 1 - jnp.tanh(safe) / safe)


def sgd_noise_loss(
    model: LinearQuadraticModel,
    task_weights: Float[Array, " n"],
    learning_rate: float | Float[Array, ""],
    steps: int,
    *,
    batch: int = 1,
    population: int | None = None,
) -> Float[Array, ""]:
    r"""What gradient noise adds to a branch's expected loss, ½ tr(H Cov δ), for a Hessian shared by all tasks.

    The mean displacement is that of gradient descent, and the noise is additive: exact. Differences between task optima
    count by the spread of their order; fresh examples within tasks always by that with replacement.

    Args:
        model: tasks with one Hessian.
        task_weights: float64 [N], the branch's distribution over tasks, of sum one.
        learning_rate: η.
        steps: τ.
        batch: b, examples in a step.
        population: n, if the branch's examples come in reshuffled passes over n examples, with tasks as frequent as
            their weights say; None for independent draws.

    Raises:
        ValueError: if tasks have their own Hessians, whose noise is not additive (see `sgd_moments`).

    >>> model = LinearQuadraticModel(jnp.eye(1), jnp.array([[1.0], [-1.0]]))
    >>> sgd_noise_loss(model, model.uniform, 0.5, 2).item()
    0.15625
    """
    if not model.has_shared_hessian:
        raise ValueError("the law with additive noise needs one Hessian for all tasks; use sgd_moments for one each")
    weights = as_float64("task weights", task_weights)
    check_unit_sum("task weights", weights)
    rate = as_float64("the learning rate", learning_rate)

    def fresh(eigenvalues: Float[Array, "..."]) -> Float[Array, "..."]:
        return eigenvalues * spread_with_replacement(rate * eigenvalues, steps, batch)

    def ordered(eigenvalues: Float[Array, "..."]) -> Float[Array, "..."]:
        if population is None:
            return fresh(eigenvalues)
        return eigenvalues * spread_reshuffled(rate * eigenvalues, steps, population, batch)

    deviations = model.optima - (weights @ model.optima)[None, :]
    between = weights @ jnp.einsum("ni,ni->n", deviations, model.hessian.apply(ordered, deviations))
    scatter = model.scatter.T
    within = jnp.einsum("qi,qi->", scatter, model.hessian.apply(fresh, scatter))
    return 0.5 * (between + within)


def expected_merged_loss(
    model: LinearQuadraticModel,
    start: Float[Array, " d"],
    weights_of_groups: Float[Array, "k n"],
    merge_weights: Float[Array, " k"],
    learning_rate: float | Float[Array, ""],
    steps: int,
    *,
    batch: int = 1,
    population: int | None = None,
) -> Float[Array, ""]:
    r"""Expected mixture loss of the merge of independent SGD branches with a shared Hessian (theorem B).

    The loss at the mean of the merge, plus \(\sum_k w_k^2\) times the noise loss of branch k. With uniform weights and
    equal groups the first part does not depend on the split (theorem A), and the second is that of joint training on
    batches of K stratified by group. Joint training is the case K = 1.

    Args:
        model: tasks with one Hessian.
        start: float64 [d].
        weights_of_groups: float64 [K, N], rows of sum one.
        merge_weights: float64 [K], of sum one.
        learning_rate: η.
        steps: τ of every branch.
        batch: b, examples in a step of a branch.
        population: of every branch, see `sgd_noise_loss`.

    >>> model = LinearQuadraticModel(jnp.eye(1), jnp.array([[1.0], [-1.0]]))
    >>> expected_merged_loss(model, jnp.zeros(1), model.uniform[None, :], jnp.ones(1), 0.5, 2).item()
    0.65625
    """
    groups = as_float64("group weights", weights_of_groups)
    shares = as_float64("merge weights", merge_weights)
    check_unit_sum("merge weights", shares)
    moved = shares @ branch_displacements(model, start, groups, learning_rate, steps)

    def noise(row: Float[Array, " n"]) -> Float[Array, ""]:
        return sgd_noise_loss(model, row, learning_rate, steps, batch=batch, population=population)

    return model.loss(as_float64("the start", start) + moved) + shares**2 @ jax.vmap(noise)(groups)


class SgdMoments(NamedTuple):
    """Mean [d] and covariance [d, d] of the displacement."""

    mean: Float[Array, " d"]
    covariance: Float[Array, "d d"]


@partial(jax.jit, static_argnames="steps")
def _moments_after(
    model: LinearQuadraticModel,
    origin: Float[Array, " d"],
    weights: Float[Array, " n"],
    rate: Float[Array, ""],
    steps: int,
    batch: int,
) -> SgdMoments:
    curvatures = jnp.broadcast_to(model.hessian.dense(), (model.n_tasks, model.dimension, model.dimension))
    scattered = curvatures @ model.scatter[None, :, :]
    example_noise = jnp.einsum("n,niq,njq->ij", weights, scattered, scattered)
    maps = jnp.eye(model.dimension)[None, :, :] - rate * curvatures
    mean_map = jnp.einsum("n,nij->ij", weights, maps)

    def step(_: int, moments: SgdMoments) -> SgdMoments:
        gradients = model.task_gradients(origin + moments.mean)
        mean_gradient = weights @ gradients
        deviations = gradients - mean_gradient[None, :]
        own = jnp.einsum("n,nij,jk,nkl->il", weights, maps, moments.covariance, maps, optimize=True)
        common = mean_map @ moments.covariance @ mean_map
        noise = jnp.einsum("n,ni,nj->ij", weights, deviations, deviations) + example_noise
        covariance = own / batch + (1 - 1 / batch) * common + rate**2 / batch * noise
        return SgdMoments(moments.mean - rate * mean_gradient, covariance)

    still = SgdMoments(jnp.zeros_like(origin), jnp.zeros_like(mean_map))
    return jax.lax.fori_loop(0, steps, step, still)


def sgd_moments(
    model: LinearQuadraticModel,
    start: Float[Array, " d"],
    task_weights: Float[Array, " n"],
    learning_rate: float | Float[Array, ""],
    steps: int,
    *,
    batch: int = 1,
) -> SgdMoments:
    r"""Mean and covariance after τ steps with replacement, exact for one Hessian per task too; O(τ N d³).

    With Aᵢ = I - ηHᵢ, and gᵢ the task gradients at the mean:

    $$C' = \tfrac1b \mathbb E_i[A_i C A_i] + (1 - \tfrac1b) \bar A C \bar A
        + \tfrac{\eta^2}{b} \bigl( \operatorname{Cov}_i(g_i) + \mathbb E_i[H_i S S^\top H_i] \bigr)$$

    Args:
        model: the tasks.
        start: float64 [d].
        task_weights: float64 [N], the branch's distribution over tasks, of sum one.
        learning_rate: η.
        steps: τ.
        batch: b, examples in a step.

    >>> model = LinearQuadraticModel(jnp.eye(1), jnp.array([[1.0], [-1.0]]))
    >>> sgd_moments(model, jnp.zeros(1), model.uniform, 0.5, 2).covariance.tolist()
    [[0.3125]]
    """
    weights = as_float64("task weights", task_weights)
    check_unit_sum("task weights", weights)
    rate = as_float64("the learning rate", learning_rate)
    return _moments_after(model, as_float64("the start", start), weights, rate, steps, batch)
