"""Edges of gradient descent and of SGD (EDGE, section 8.5) against full matrices and against divergence itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from merit_theory.hessian import DenseHessian, DiagonalHessian
from merit_theory.linear_quadratic import LinearQuadraticModel, gradient_descent, group_weights
from merit_theory.partition import Partition
from merit_theory.sgd_law import sgd_moments
from merit_theory.stability_edge import gradient_descent_edge, second_moment_growth, sgd_edge

INSTANCES, TASKS, DIMENSION = 300, 4, 3
GROUPS = group_weights(Partition(((0, 2), (1, 3))))
UNIFORM = jnp.full(TASKS, 1 / TASKS)


def wishart(seed: int) -> jax.Array:
    """Hessians [instances, N, d, d] of random rank."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((INSTANCES, TASKS, DIMENSION, 2)) * 10 ** rng.uniform(-1, 1, (INSTANCES, TASKS, 1, 1))
    return jnp.asarray(factors @ np.swapaxes(factors, -1, -2))


def growth_by_full_matrix(matrices: np.ndarray, weights: np.ndarray, rate: float, batch: int) -> float:
    """Spectral radius of the [d², d²] matrix of the map of second moments."""
    maps = np.eye(matrices.shape[-1]) - rate * matrices
    mean = np.einsum("n,nij->ij", weights, maps)
    own = sum(weight * np.kron(one, one) for weight, one in zip(weights, maps, strict=True))
    return np.abs(np.linalg.eigvals(own / batch + (1 - 1 / batch) * np.kron(mean, mean))).max()


def test_gradient_descent_turns_from_shrinking_to_growing_at_its_edge() -> None:
    hessian = DenseHessian(wishart(0)[0].mean(axis=0))
    edge = gradient_descent_edge(hessian)
    from_optimum = hessian.product(jnp.ones(DIMENSION))  # gradient at displacement one from the optimum
    ends = [
        jnp.ones(DIMENSION) + gradient_descent(hessian, from_optimum, factor * edge, 4000) for factor in (0.99, 1.01)
    ]
    assert jnp.linalg.norm(ends[0]) < 2 < 1e6 < jnp.linalg.norm(ends[1])


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.2, 0.8)])
def test_some_branch_has_an_edge_no_larger_than_the_joint_one(shares: tuple[float, float]) -> None:
    hessians = wishart(1)
    branches = gradient_descent_edge(DenseHessian(jnp.einsum("kn,snij->skij", GROUPS, hessians).reshape(-1, 3, 3)))
    joint = gradient_descent_edge(DenseHessian(jnp.einsum("k,kn,snij->sij", jnp.array(shares), GROUPS, hessians)))
    assert (branches.reshape(-1, 2).min(axis=1) <= joint * (1 + 1e-12)).all()
    # The other branch may well have a larger one.
    assert (branches.reshape(-1, 2).max(axis=1) > joint).mean() > 0.5


def test_both_branches_can_have_a_larger_edge_than_training_on_other_tasks() -> None:
    # The joint run must be the mixture of the groups.
    hessian = DiagonalHessian(np.array([[1.0], [1.0], [4.0]]))
    branches = jnp.stack([gradient_descent_edge(hessian.mean(jnp.eye(3)[task])) for task in (0, 1)])
    assert branches.min() > gradient_descent_edge(hessian.mean(jnp.full(3, 1 / 3)))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("rate", [0.02, 0.3, 2.0])
def test_growth_is_the_spectral_radius_of_the_full_map(batch: int, rate: float) -> None:
    hessians, weights = wishart(2)[:40], np.array([0.1, 0.2, 0.3, 0.4])
    found = jax.jit(jax.vmap(lambda one: second_moment_growth(DenseHessian(one), jnp.asarray(weights), rate, batch)))
    exact = [growth_by_full_matrix(one, weights, rate, batch) for one in np.asarray(hessians)]
    np.testing.assert_allclose(found(hessians), exact, rtol=1e-11)


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_growth_of_joint_sgd_is_at_most_the_largest_of_the_branches(batch: int) -> None:
    hessians = wishart(3)
    rates = jnp.asarray(10 ** np.random.default_rng(0).uniform(-3, 1, INSTANCES))

    def growths(one: jax.Array, rate: jax.Array) -> jax.Array:
        rows = jnp.concatenate([UNIFORM[None, :], GROUPS])
        return jax.vmap(lambda row: second_moment_growth(DenseHessian(one), row, rate, batch))(rows)

    joint, *branches = jax.jit(jax.vmap(growths))(hessians, rates).T
    assert (joint <= jnp.maximum(*branches) * (1 + 1e-11)).all()


def test_some_branch_has_an_sgd_edge_no_larger_than_the_joint_one_at_equal_batch_only() -> None:
    rows = jnp.concatenate([UNIFORM[None, :], GROUPS])

    def edges(one: jax.Array, batch: jax.Array) -> jax.Array:
        return jax.vmap(lambda row: sgd_edge(DenseHessian(one), row, batch))(rows)

    all_edges = jax.jit(jax.vmap(jax.vmap(edges, (0, None)), (None, 0)))(wishart(4), jnp.array([1.0, 2.0, 16.0]))
    joint, *branches = jnp.moveaxis(all_edges, -1, 0)
    assert (jnp.minimum(*branches) <= joint * (1 + 1e-10)).all()
    # With more examples per step than the joint run, both branches can take larger steps.
    assert (jnp.minimum(*branches)[2] > joint[1] * (1 + 1e-6)).any()


@pytest.mark.parametrize("batch", [1, 4])
def test_growth_is_one_at_the_sgd_edge_and_passes_it_there(batch: int) -> None:
    factors = np.random.default_rng(5).standard_normal((INSTANCES, TASKS, DIMENSION, 4))
    hessians = jnp.asarray(factors @ np.swapaxes(factors, -1, -2))

    @jax.jit
    @jax.vmap
    def around(one: jax.Array) -> jax.Array:
        hessian = DenseHessian(one)
        edge = sgd_edge(hessian, UNIFORM, batch)
        return jnp.stack([second_moment_growth(hessian, UNIFORM, factor * edge, batch) for factor in (0.999, 1, 1.001)])

    below, at, above = around(hessians).T
    assert (below < 1).all()
    np.testing.assert_allclose(at, 1, rtol=1e-10)
    assert (above > 1).all()


def test_directions_flat_for_all_tasks_do_not_bound_the_learning_rate() -> None:
    curved = np.array([[1.0, 3.0], [2.0, 0.5]])
    flat = np.concatenate([curved, np.zeros((2, 1))], axis=1)
    edges = [sgd_edge(DiagonalHessian(diagonals), jnp.array([0.5, 0.5])).item() for diagonals in (curved, flat)]
    # Per direction E(1-ηh)² = 1 at η = 2E[h]/E[h²]: 3/2.5 and 3.5/4.625; a mixed second moment allows more.
    assert edges == pytest.approx([3.5 / 4.625] * 2, rel=1e-12)


def test_the_sgd_edge_is_that_of_gradient_descent_for_a_shared_hessian_or_huge_batches_and_less_otherwise() -> None:
    hessian = DenseHessian(wishart(6)[0])
    mean = gradient_descent_edge(hessian.mean(UNIFORM))
    assert sgd_edge(hessian, UNIFORM, 10**9) == pytest.approx(mean.item(), rel=1e-6)
    assert sgd_edge(hessian, UNIFORM, 1) < 0.9 * mean
    shared = DenseHessian(jnp.broadcast_to(hessian.matrix[0], hessian.matrix.shape))
    assert sgd_edge(shared, UNIFORM, 1) == pytest.approx(gradient_descent_edge(hessian).tolist()[0], rel=1e-11)


def test_covariance_of_sgd_grows_by_the_predicted_factor() -> None:
    hessians = wishart(7)[0]
    model = LinearQuadraticModel(hessians, np.random.default_rng(0).standard_normal((TASKS, DIMENSION)))
    rate = 1.5 * sgd_edge(model.hessian, UNIFORM, 2)
    sizes = [
        jnp.linalg.norm(sgd_moments(model, jnp.zeros(DIMENSION), UNIFORM, rate, steps, batch=2).covariance)
        for steps in (300, 301)
    ]
    assert sizes[1] / sizes[0] == pytest.approx(second_moment_growth(model.hessian, UNIFORM, rate, 2).item(), rel=1e-6)


def test_a_stack_that_does_not_fit_the_weights_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3,\) task weights and a Hessian stack of \(\)"):
        sgd_edge(DiagonalHessian(np.ones(2)), jnp.full(3, 1 / 3))
