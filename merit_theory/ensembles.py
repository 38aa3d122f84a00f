"""Random instances on which statements of this theory have broken: wide spectra, heavy tails, signed weights.

Every ensemble draws plain numbers and builds an instance from them by differentiable steps, so that a search can move
the numbers and stay inside the hypotheses that the build guarantees.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from merit_theory.hessian import DenseHessian
from merit_theory.linear_quadratic import LinearQuadraticModel, branch_displacements
from merit_theory.merging import merged_displacement
from merit_theory.partition import balanced_splits
from merit_theory.propositions.proposition import Batch, Ensemble, Numbers
from merit_theory.split_gain import task_matrix


class Basin(NamedTuple):
    """A quadratic basin with branches in it.

    Attributes:
        hessian: float64 [d, d], symmetric.
        slope: float64 [d], the gradient at the point that displacements are measured from.
        displacements: float64 [k, d], one branch per row.
        weights: float64 [k], of the merge.
    """

    hessian: Float[Numbers, "d d"]
    slope: Float[Numbers, " d"]
    displacements: Float[Numbers, "k d"]
    weights: Float[Numbers, " k"]

    def loss(self, moved: Float[Array, " d"]) -> Float[Array, ""]:
        """Loss at a displacement, less its value at none."""
        return self.slope @ moved + 0.5 * moved @ self.hessian @ moved


class TaskTable(NamedTuple):
    """Task gradients at a shared point and the Hessian they share.

    Attributes:
        gradients: float64 [n, d], one task per row.
        hessian: float64 [d, d], symmetric and positive semi-definite.
    """

    gradients: Float[Numbers, "n d"]
    hessian: Float[Numbers, "d d"]

    @property
    def matrix(self) -> Float[Array, "n n"]:
        """The task matrix M."""
        return task_matrix(self.gradients, DenseHessian(self.hessian))


class TaskQuadratics(NamedTuple):
    """Quadratic tasks, a partition of them, and gradient descent on every group and on all tasks jointly.

    Attributes:
        hessians: float64 [n, d, d], symmetric, one per task.
        optima: float64 [n, d].
        start: float64 [d].
        rows: float64 [k, n], the weight of every task in every group's loss, rows of sum one.
        merge_weights: float64 [k].
        learning_rate: float64.
        steps: int64 [k], of every branch; the joint run makes as many as the first.
    """

    hessians: Float[Numbers, "n d d"]
    optima: Float[Numbers, "n d"]
    start: Float[Numbers, " d"]
    rows: Float[Numbers, "k n"]
    merge_weights: Float[Numbers, " k"]
    learning_rate: Float[Numbers, ""]
    steps: Int[Numbers, " k"]

    @property
    def model(self) -> LinearQuadraticModel:
        """The tasks alone."""
        return LinearQuadraticModel(self.hessians, self.optima)

    def branches(self) -> Float[Array, "k d"]:
        """Displacement of every branch."""
        return jax.vmap(self._descend)(self.rows, self.steps)

    def joint(self) -> Float[Array, " d"]:
        """Displacement of the joint run."""
        return self._descend(self.model.uniform, self.steps[0])

    def merged(self) -> Float[Array, " d"]:
        """Displacement of the merged model."""
        return merged_displacement(self.branches(), self.merge_weights)

    def _descend(self, row: Numbers, steps: Numbers) -> Float[Array, " d"]:
        return branch_displacements(self.model, self.start, row[None, :], self.learning_rate, steps)[0]


def balanced_signs(n_tasks: int) -> NDArray[np.float64]:
    """All balanced splits as signs, task 0 at +1; float64 [C(N, N/2)/2, n_tasks].

    >>> balanced_signs(4).tolist()
    [[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0], [1.0, -1.0, -1.0, 1.0]]
    """
    return np.array([1.0 - 2.0 * split.labels for split in balanced_splits(n_tasks)], dtype=np.float64)


def symmetric(drawn: Batch) -> Float[Array, "d d"]:
    """A symmetric matrix from ``mirror`` [d], ``exponents`` [d] (decades) and ``signs`` [d] of its eigenvalues.

    The eigenvectors are the columns of the reflection that the mirror defines: as good as a random rotation for mixing
    coordinates, and its derivative compiles ten times faster than that of an orthogonalisation.
    """
    mirror = drawn["mirror"] / jnp.linalg.norm(drawn["mirror"])
    basis = jnp.eye(mirror.size) - 2 * jnp.outer(mirror, mirror)
    eigenvalues = drawn["signs"].astype(jnp.float64) * 10.0 ** drawn["exponents"]
    return (basis * eigenvalues[None, :]) @ basis.T


def draw_symmetric(rng: np.random.Generator, n: int, d: int, decades: float, signs: tuple[int, ...]) -> Batch:
    """The numbers behind n symmetric matrices.

    Spectra lie within ``decades`` of one; the first eigenvalue is positive, every other has one of the signs.
    """
    return {
        "mirror": rng.standard_normal((n, d)),
        "exponents": rng.uniform(-decades, decades, (n, d)),
        "signs": np.concatenate([np.ones((n, 1), np.int64), rng.choice(np.array(signs), (n, d - 1))], axis=1),
    }


def student(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Heavy-tailed numbers, Student's t with 1.2 degrees of freedom, no larger than a thousand."""
    return np.clip(rng.standard_t(1.2, shape), -1e3, 1e3)


def random_labels(rng: np.random.Generator, n: int, n_tasks: int, n_groups: int) -> NDArray[np.int64]:
    """Random labels with no group empty: one random task for each, the others uniform; int64 [n, n_tasks]."""
    fixed = np.broadcast_to(np.arange(n_groups), (n, n_groups))
    labels = np.concatenate([fixed, rng.integers(0, n_groups, (n, n_tasks - n_groups))], axis=1)
    return rng.permuted(labels, axis=1)


def group_rows(labels: Int[Array, " n"], n_groups: int) -> tuple[Float[Array, "k n"], Float[Array, " k"]]:
    """The plain mean over every group as rows of weights, and every group's share of the tasks."""
    members = jax.nn.one_hot(labels, n_groups, dtype=jnp.float64).T
    sizes = members.sum(axis=1)
    return members / sizes[:, None], sizes / labels.size


def _draw_basin(signs: tuple[int, ...], signed_weights: bool) -> Any:
    def draw(rng: np.random.Generator, n: int, d: int = 5, k: int = 4) -> Batch:
        return draw_symmetric(rng, n, d, 3.0, signs) | {
            "slope": rng.standard_normal((n, d)),
            "displacements": rng.standard_normal((n, k, d)),
            "weights": rng.standard_normal((n, k)) * (1.0 if signed_weights else 2.0),
        }

    return draw


def _basin(drawn: Batch) -> Basin:
    """A basin whose weights have sum one and any sign."""
    weights = drawn["weights"] + (1 - drawn["weights"].sum()) / drawn["weights"].size
    return Basin(symmetric(drawn), drawn["slope"], drawn["displacements"], weights)


def _convex_basin(drawn: Batch) -> Basin:
    """A basin whose weights are positive with sum one."""
    powers = jnp.exp(drawn["weights"] - drawn["weights"].max())
    return Basin(symmetric(drawn), drawn["slope"], drawn["displacements"], powers / powers.sum())


BASINS = Ensemble(_draw_basin((-1, 0, 1), signed_weights=True), _basin)
"""Any symmetric Hessian over six decades, weights of any sign."""

CONVEX_BASINS = Ensemble(_draw_basin((0, 1, 1), signed_weights=False), _convex_basin)
"""Positive semi-definite Hessians over six decades with null directions, positive weights."""


def _draw_table(n_tasks: int) -> Any:
    def draw(rng: np.random.Generator, n: int, d: int = 5) -> Batch:
        return draw_symmetric(rng, n, d, 1.0, (0, 1, 1)) | {"gradients": student(rng, (n, n_tasks, d))}

    return draw


def tables(n_tasks: int) -> Ensemble:
    """Heavy-tailed, uncentred task gradients under a positive semi-definite Hessian over two decades."""
    return Ensemble(_draw_table(n_tasks), lambda drawn: TaskTable(drawn["gradients"], symmetric(drawn)))


def task_quadratics(
    *, shared_hessian: bool, n_tasks: int = 6, n_groups: int = 3, d: int = 3, steps: int = 2
) -> Ensemble:
    """Quadratic tasks with one Hessian or one each, in groups of any sizes, up to and beyond the stability edge."""

    def draw(rng: np.random.Generator, n: int) -> Batch:
        return {
            "factors": rng.standard_normal((n, 1 if shared_hessian else n_tasks, d, d)),
            "optima": rng.standard_normal((n, n_tasks, d)),
            "start": rng.standard_normal((n, d)),
            "labels": random_labels(rng, n, n_tasks, n_groups),
            "edge": rng.uniform(-3.0, 0.8, n),
        }

    def build(drawn: Batch) -> TaskQuadratics:
        products = jnp.einsum("nij,nkj->nik", drawn["factors"], drawn["factors"])
        hessians = jnp.broadcast_to(products, (n_tasks, d, d))
        # The trace bounds the largest eigenvalue and, unlike it, is smooth.
        learning_rate = jnp.exp(drawn["edge"]) / jnp.trace(hessians.mean(axis=0))
        rows, shares = group_rows(drawn["labels"], n_groups)
        return TaskQuadratics(
            hessians, drawn["optima"], drawn["start"], rows, shares, learning_rate, jnp.full(n_groups, steps)
        )

    return Ensemble(draw, build)


def scalar_tasks(
    curvatures: list[float], optima: list[float], groups: list[list[int]], learning_rate: float, steps: int
) -> TaskQuadratics:
    """Tasks with one parameter, started at zero, merged by their groups' shares of the tasks."""
    rows = np.array([[1 / len(group) if task in group else 0.0 for task in range(len(optima))] for group in groups])
    return TaskQuadratics(
        hessians=np.array(curvatures, dtype=np.float64).reshape(-1, 1, 1),
        optima=np.array(optima, dtype=np.float64).reshape(-1, 1),
        start=np.zeros(1),
        rows=rows,
        merge_weights=np.array([len(group) / len(optima) for group in groups]),
        learning_rate=np.array(learning_rate),
        steps=np.full(len(groups), steps),
    )
