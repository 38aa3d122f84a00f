"""The linear-quadratic model: every task has a quadratic loss with its own optimum; gradient descent is solvable."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from merit_theory.hessian import Hessian, LowRankHessian, as_hessian
from merit_theory.partition import Partition
from merit_theory.precision import as_float64, check_finite, check_unit_sum
from merit_theory.pytree import pytree_dataclass


@pytree_dataclass
class LinearQuadraticModel:
    r"""Task losses \(L_i(\theta) = \tfrac12 (\theta - \theta_i^*)^\top H_i (\theta - \theta_i^*)\) (appendix F.4).

    Args:
        hessian: one for all tasks, or a stack of one per task; a matrix [d, d] or [N, d, d] becomes a `DenseHessian`.
        optima: float64 [N, d], the task optima θᵢ*.
        example_scatter: float64 [d, q]; one example of task i has its optimum at θᵢ* + scatter @ z with z standard
            normal. Stochastic gradients see it, losses do not. Left out, the examples of a task do not differ.

    Raises:
        ValueError: if shapes do not fit or a number is not finite (not checked while JAX traces).

    >>> model = LinearQuadraticModel(jnp.eye(1), jnp.array([[1.0], [-3.0]]))
    >>> model.task_losses(jnp.array([0.0])).tolist()
    [0.5, 4.5]
    """

    hessian: Hessian
    optima: Float[Array, "n d"]
    example_scatter: Float[Array, "d q"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "hessian", as_hessian(self.hessian))
        optima = as_float64("the optima", self.optima)
        object.__setattr__(self, "optima", optima)
        if optima.ndim != 2 or optima.shape[1] != self.hessian.dimension:
            raise ValueError(f"the optima have shape {optima.shape}; expected [N, {self.hessian.dimension}]")
        if self.hessian.stack_shape not in ((), (len(optima),)):
            raise ValueError(
                f"{len(optima)} tasks have {self.hessian.stack_shape[0]} Hessians; expected one, or one each"
            )
        check_finite("the optima", optima)
        if self.example_scatter is not None:
            scatter = as_float64("the example scatter", self.example_scatter)
            object.__setattr__(self, "example_scatter", scatter)
            if scatter.ndim != 2 or len(scatter) != self.dimension:
                raise ValueError(f"the example scatter has shape {scatter.shape}; expected [{self.dimension}, q]")
            check_finite("the example scatter", scatter)

    @property
    def n_tasks(self) -> int:
        """Number of tasks N."""
        return self.optima.shape[0]

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return self.optima.shape[1]

    @property
    def has_shared_hessian(self) -> bool:
        """Whether all tasks have one Hessian."""
        return not self.hessian.stack_shape

    @property
    def uniform(self) -> Float[Array, " n"]:
        """The weights of the plain mixture, 1/N each."""
        return jnp.full(self.n_tasks, 1 / self.n_tasks)

    @property
    def scatter(self) -> Float[Array, "d q"]:
        """The example scatter, without columns if the examples of a task do not differ."""
        return jnp.zeros((self.dimension, 0)) if self.example_scatter is None else self.example_scatter

    def task_losses(self, parameters: Float[Array, " d"]) -> Float[Array, " n"]:
        """Loss of every task at parameters float64 [d]."""
        return 0.5 * self.hessian.quadratic_form(parameters[None, :] - self.optima)

    def task_gradients(self, parameters: Float[Array, " d"]) -> Float[Array, "n d"]:
        """Gradient of every task's loss at parameters float64 [d]."""
        return self.hessian.product(parameters[None, :] - self.optima)

    def loss(self, parameters: Float[Array, " d"], task_weights: Float[Array, " n"] | None = None) -> Float[Array, ""]:
        """Mixture loss Σᵢ wᵢ Lᵢ at parameters float64 [d]; uniform weights if left out."""
        return (self.uniform if task_weights is None else task_weights) @ self.task_losses(parameters)

    def gradient(
        self, parameters: Float[Array, " d"], task_weights: Float[Array, " n"] | None = None
    ) -> Float[Array, " d"]:
        """Gradient of the mixture loss at parameters float64 [d]; uniform weights if left out."""
        return (self.uniform if task_weights is None else task_weights) @ self.task_gradients(parameters)

    def mean_hessian(self, task_weights: Float[Array, " n"] | None = None) -> Hessian:
        """Hessian of the mixture loss Σᵢ wᵢ Lᵢ with weights of sum one; uniform if left out."""
        if self.has_shared_hessian:
            return self.hessian
        return self.hessian.mean(self.uniform if task_weights is None else task_weights)

    def optimum(self, task_weights: Float[Array, " n"] | None = None) -> Float[Array, " d"]:
        """Parameters [d] of least mixture loss, for convex losses; of several, one closest to the mean of the optima.

        Raises:
            ValueError: if functions of the mean Hessian have no closed form (see `LowRankHessian`).
        """
        weights = self.uniform if task_weights is None else task_weights
        centre = weights @ self.optima
        if self.has_shared_hessian:
            return centre
        mean = self.mean_hessian(weights)
        largest = mean.extreme_eigenvalues().largest

        def inverse(eigenvalues: Float[Array, "..."]) -> Float[Array, "..."]:
            flat = eigenvalues <= 1e-13 * largest
            return jnp.where(flat, 0.0, 1 / jnp.where(flat, 1.0, eigenvalues))

        return centre - mean.apply(inverse, self.gradient(centre, weights))


def group_weights(partition: Partition) -> Float[Array, "k n"]:
    """Weights [K, N] under which row k is the plain mean over the tasks of group k.

    >>> group_weights(Partition(((0, 2), (1,)))).tolist()
    [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]
    """
    members = as_float64("group weights", partition.indicators.T)
    return members / members.sum(axis=1, keepdims=True)


@jax.jit
def effective_steps(progress: Float[Array, "..."], steps: int | Int[Array, ""]) -> Float[Array, "..."]:
    r"""How many first steps τ steps of gradient descent are worth in an eigendirection, \(\varphi_\tau\) (E3).

    $$\varphi_\tau(x) = \sum_{t<\tau} (1-x)^t = \frac{1 - (1-x)^\tau}{x}, \qquad x = \eta\lambda$$

    By doubling, φ₂ₙ = φₙ(2 - xφₙ) and φₙ₊₁ = 1 + (1-x)φₙ: no division, so it is accurate and differentiable at x = 0,
    for tiny x, and at and beyond the stability edge x = 2. For 0 ≤ x ≤ 2, 0 ≤ τ - φ_τ ≤ ½τ(τ-1)x.

    Args:
        progress: float64 of any shape, x = learning rate times eigenvalue, of any sign.
        steps: τ, from 0 to 2³¹ - 1.

    >>> effective_steps(jnp.array([0.0, 0.5, 1.0, 2.0, 3.0]), 4).tolist()
    [4.0, 1.875, 1.0, 0.0, -5.0]
    """
    progress = as_float64("progress", progress)

    def double(index: int, total: Float[Array, "..."]) -> Float[Array, "..."]:
        total = total * (2 - progress * total)
        odd = (jnp.asarray(steps) >> (30 - index)) & 1
        return jnp.where(odd == 1, 1 + (1 - progress) * total, total)

    return jax.lax.fori_loop(0, 31, double, jnp.zeros_like(progress))


def gradient_descent(
    hessian: Hessian | ArrayLike, gradient: Float[Array, "*k d"], learning_rate: float | Float[Array, ""], steps: int
) -> Float[Array, "*k d"]:
    """Displacement after τ steps of gradient descent on a quadratic, step by step: only products with H.

    Args:
        hessian: H, or a stack that goes with the leading axis of the gradients.
        gradient: float64 [d] or [K, d], the gradient at the start.
        learning_rate: η.
        steps: τ ≥ 0.

    >>> gradient_descent(jnp.eye(1), jnp.array([1.0]), 0.5, 2).tolist()
    [-0.75]
    """
    curvature = as_hessian(hessian)
    rate = as_float64("the learning rate", learning_rate)
    slope = as_float64("the gradient", gradient)
    return _descend(curvature, slope, rate, steps)


@partial(jax.jit, static_argnames="steps")
def _descend(
    hessian: Hessian, gradient: Float[Array, "*k d"], learning_rate: Float[Array, ""], steps: int
) -> Float[Array, "*k d"]:
    def step(_: int, moved: Float[Array, "*k d"]) -> Float[Array, "*k d"]:
        return moved - learning_rate * (gradient + hessian.product(moved))

    return jax.lax.fori_loop(0, steps, step, jnp.zeros_like(gradient))


def gradient_descent_closed_form(
    hessian: Hessian | ArrayLike, gradient: Float[Array, "*k d"], learning_rate: float | Float[Array, ""], steps: int
) -> Float[Array, "*k d"]:
    r"""The same displacement without steps, \(\delta = -\eta\,\varphi_\tau(\eta H)\,g\) (E3; see `effective_steps`).

    A low-rank Hessian without constant diagonal has no closed form and takes the steps.

    Args:
        hessian: H, or a stack that goes with the leading axis of the gradients.
        gradient: float64 [d] or [K, d], the gradient at the start.
        learning_rate: η, also at and beyond the edge 2/λ_max.
        steps: τ ≥ 0.

    >>> gradient_descent_closed_form(jnp.eye(1), jnp.array([1.0]), 0.5, 2).tolist()
    [-0.75]
    """
    curvature = as_hessian(hessian)
    rate = as_float64("the learning rate", learning_rate)
    slope = as_float64("the gradient", gradient)
    if isinstance(curvature, LowRankHessian) and not curvature.has_constant_diagonal:
        return gradient_descent(curvature, slope, rate, steps)
    return -rate * curvature.apply(lambda eigenvalues: effective_steps(rate * eigenvalues, steps), slope)


def branch_displacements(
    model: LinearQuadraticModel,
    start: Float[Array, " d"],
    weights_of_groups: Float[Array, "k n"],
    learning_rate: float | Float[Array, ""],
    steps: int,
) -> Float[Array, "k d"]:
    """Where gradient descent takes one branch per group, all from one start with one rate and one number of steps.

    Args:
        model: the tasks.
        start: float64 [d], θ⁰.
        weights_of_groups: float64 [K, N], rows of sum one: how group k weighs the tasks (see `group_weights`). The row
            of a joint run is ``model.uniform[None, :]``.
        learning_rate: η.
        steps: τ ≥ 0.

    Raises:
        ValueError: if shapes do not fit or a row does not sum to one (not checked while JAX traces).

    Returns:
        δ, float64 [K, d].

    >>> model = LinearQuadraticModel(jnp.eye(1), jnp.array([[1.0], [-3.0]]))
    >>> branch_displacements(model, jnp.zeros(1), jnp.eye(2), 0.5, 1).tolist()
    [[0.5], [-1.5]]
    """
    weights = as_float64("group weights", weights_of_groups)
    if weights.ndim != 2 or weights.shape[1] != model.n_tasks:
        raise ValueError(f"group weights have shape {weights.shape}; expected [K, {model.n_tasks}]")
    check_unit_sum("group weights", weights)
    gradients = weights @ model.task_gradients(as_float64("the start", start))
    if model.has_shared_hessian:
        return gradient_descent_closed_form(model.hessian, gradients, learning_rate, steps)
    descend = partial(gradient_descent_closed_form, learning_rate=learning_rate, steps=steps)
    return jax.vmap(lambda row, gradient: descend(model.hessian.mean(row), gradient))(weights, gradients)
