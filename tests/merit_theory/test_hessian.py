"""Every kind of Hessian does what its dense matrix does, alone, in stacks, and under JAX's transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from merit_theory.hessian import DenseHessian, DiagonalHessian, Hessian, LowRankHessian, as_hessian

TASKS, DIMENSION = 3, 6
KINDS = ["dense", "diagonal", "low-rank", "low-rank-constant", "rank-above-dimension"]


def hessian_of(kind: str, stack: tuple[int, ...], seed: int = 0) -> Hessian:
    rng = np.random.default_rng(seed)
    if kind == "dense":
        factor = rng.standard_normal((*stack, DIMENSION, DIMENSION))
        return DenseHessian(factor + np.swapaxes(factor, -1, -2))
    if kind == "diagonal":
        return DiagonalHessian(rng.standard_normal((*stack, DIMENSION)))
    rank = DIMENSION + 1 if kind == "rank-above-dimension" else 2
    diagonal = rng.standard_normal((*stack, DIMENSION if kind == "low-rank" else 1))
    factors = rng.standard_normal((*stack, DIMENSION, rank))
    return LowRankHessian(diagonal, factors, rng.standard_normal((*stack, rank)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stack", [(), (TASKS,)])
class TestAgreementWithTheDenseMatrix:
    def test_products_and_quadratic_forms(self, kind: str, stack: tuple[int, ...]) -> None:
        hessian = hessian_of(kind, stack)
        matrix = np.asarray(hessian.dense())
        for shape in [(DIMENSION,), (TASKS, DIMENSION), (5, TASKS, DIMENSION)]:
            vectors = np.random.default_rng(1).standard_normal(shape)
            expected = (matrix @ vectors[..., None])[..., 0]
            np.testing.assert_allclose(hessian.product(vectors), expected, atol=1e-12)
            np.testing.assert_allclose(hessian.quadratic_form(vectors), (expected * vectors).sum(-1), atol=1e-11)

    def test_extreme_eigenvalues(self, kind: str, stack: tuple[int, ...]) -> None:
        hessian = hessian_of(kind, stack)
        exact = np.linalg.eigvalsh(np.asarray(hessian.dense()))
        found = jax.jit(lambda one: one.extreme_eigenvalues())(hessian)
        np.testing.assert_allclose(found.smallest, exact[..., 0], atol=1e-11)
        np.testing.assert_allclose(found.largest, exact[..., -1], atol=1e-11)
        assert (np.asarray(found.error) < 1e-10).all()

    def test_functions(self, kind: str, stack: tuple[int, ...]) -> None:
        hessian = hessian_of(kind, stack)
        vectors = np.random.default_rng(2).standard_normal((TASKS, DIMENSION))
        if kind == "low-rank":
            with pytest.raises(ValueError, match="constant diagonal"):
                hessian.apply(jnp.exp, vectors)
            return
        values, basis = np.linalg.eigh(np.asarray(hessian.dense()))
        function = basis @ (np.exp(values)[..., :, None] * np.swapaxes(basis, -1, -2))
        expected = (function @ vectors[..., None])[..., 0]
        np.testing.assert_allclose(hessian.apply(jnp.exp, vectors), expected, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_of_a_stack_is_the_mean_of_its_matrices(kind: str) -> None:
    hessian, weights = hessian_of(kind, (TASKS,)), jnp.array([0.7, 0.5, -0.2])
    expected = np.einsum("n,nij->ij", weights, hessian.dense())
    np.testing.assert_allclose(hessian.mean(weights).dense(), expected, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_is_a_vectorised_hessian(kind: str) -> None:
    hessian = hessian_of(kind, (TASKS,))
    vectors = np.random.default_rng(1).standard_normal((TASKS, DIMENSION))
    mapped = jax.vmap(lambda one, vector: one.product(vector))(hessian, vectors)
    np.testing.assert_allclose(mapped, hessian.product(vectors), atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_the_derivative_of_the_quadratic_form_is_twice_the_product(kind: str) -> None:
    hessian, vector = hessian_of(kind, ()), jnp.arange(1.0, DIMENSION + 1)
    np.testing.assert_allclose(jax.grad(hessian.quadratic_form)(vector), 2 * hessian.product(vector), atol=1e-12)


def test_hundred_thousand_parameters_cost_products_only() -> None:
    d = 100_000
    rng = np.random.default_rng(0)
    factors = np.linalg.qr(rng.standard_normal((d, 3))).Q
    constant = LowRankHessian(np.array([0.5]), factors, np.array([4.0, 2.0, -1.0]))
    assert [*constant.extreme_eigenvalues()][:2] == pytest.approx([-0.5, 4.5], rel=1e-12)
    # The diagonal's bulk moves the isolated eigenvalue by at most its width.
    general = LowRankHessian(rng.uniform(0.4, 0.6, d), factors, np.array([4.0, 2.0, -1.0])).extreme_eigenvalues()
    assert 4.4 < general.largest < 4.6
    assert general.error < 1e-10
    vector = jnp.asarray(factors[:, 0])
    np.testing.assert_allclose(constant.apply(jnp.exp, vector), np.exp(4.5) * vector, rtol=1e-10, atol=1e-12)


def test_a_matrix_is_taken_as_a_dense_hessian_and_a_hessian_as_itself() -> None:
    hessian = DiagonalHessian(np.ones(2))
    assert as_hessian(hessian) is hessian
    assert as_hessian(np.eye(2)).dense().tolist() == np.eye(2).tolist()


@pytest.mark.parametrize(
    ("kind", "arguments", "complaint"),
    [
        (DenseHessian, ([[1.0, 2.0], [0.0, 1.0]],), "not symmetric"),
        (DenseHessian, ([[1.0, np.nan], [np.nan, 1.0]],), r"non-finite entry at \(0, 1\)"),
        (DenseHessian, ([[1.0, 2.0]],), r"shape \(1, 2\)"),
        (DenseHessian, (np.ones((1, 1, 1, 1)),), r"expected \[d, d\] or \[N, d, d\]"),
        (DiagonalHessian, ([1.0, np.inf],), r"non-finite entry at \(1,\)"),
        (DiagonalHessian, (1.0,), r"expected \[d\]"),
        (LowRankHessian, (np.ones(3), np.ones((4, 2)), np.ones(2)), r"diagonal \(3,\), factors \(4, 2\)"),
        (LowRankHessian, (np.ones(4), np.ones((4, 2)), np.ones(3)), r"scales \(3,\)"),
        (LowRankHessian, (np.ones(4), np.ones((4, 2)), np.array([1.0, np.nan])), r"scales .*\(1,\)"),
    ],
)
def test_what_is_no_hessian_is_refused(kind: type, arguments: tuple, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        kind(*arguments)


def test_asymmetry_within_rounding_is_accepted() -> None:
    DenseHessian(np.array([[1.0, 0.3], [0.3 + 1e-16, 1.0]]))
