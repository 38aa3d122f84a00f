"""Eigenvalues against known spectra and ARPACK; residuals, error bars, clusters, budgets and refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator, eigsh

from diagnostics.curvature.eigenpairs import clusters_of, error_bars_of
from diagnostics.curvature.lanczos import By, largest_eigenpairs
from tests.diagnostics.curvature.dense_operator import DenseOperator, with_spectrum

INDEFINITE = [890.0, 496.0, 445.0, -508.0, -395.0, 120.0, *np.random.default_rng(0).normal(0, 10, 294)]
VECTORS_12_GB = 12 * 300 * 8 / 1e9


def ordered(eigenvalues: list[float], by: By) -> torch.Tensor:
    values = torch.tensor(eigenvalues, dtype=torch.float64)
    return values[torch.argsort(values if by == "algebraic" else values.abs(), descending=True)]


@pytest.mark.parametrize("by", ["algebraic", "magnitude"])
@pytest.mark.parametrize("budget_gb", [1.0, VECTORS_12_GB], ids=["full basis", "restarted"])
def test_an_indefinite_spectrum_is_found_in_either_order(by: By, budget_gb: float) -> None:
    operator, directions = with_spectrum(INDEFINITE)
    pairs = largest_eigenpairs(operator, 5, by=by, tolerance=1e-8, budget_gb=budget_gb, storage=torch.float64)
    assert pairs.converged.all()
    torch.testing.assert_close(pairs.values, ordered(INDEFINITE, by)[:5], rtol=1e-12, atol=0)
    assert len(pairs.vectors.rows) <= budget_gb * 1e9 / (8 * 300)
    assert pairs.products == operator.products
    overlap = directions[:, 0] @ pairs.vectors.vector(0, directions)
    assert abs(overlap) == pytest.approx(1, abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from([20, 60, 150]),
    st.sampled_from([1, 3, 6]),
    st.sampled_from(["algebraic", "magnitude"]),
    st.integers(0, 999),
)
def test_values_are_those_of_arpack_on_six_decades(dimension: int, count: int, by: By, seed: int) -> None:
    rng = np.random.default_rng(seed)
    operator, _ = with_spectrum(
        torch.tensor(10 ** rng.uniform(-3, 3, dimension) * rng.choice([-1, 1], dimension)), seed
    )
    matrix = operator.matrix.numpy()
    theirs = eigsh(
        LinearOperator(matrix.shape, matvec=lambda v: matrix @ v, dtype=np.float64),
        count,
        which="LA" if by == "algebraic" else "LM",
        return_eigenvectors=False,
        v0=rng.standard_normal(dimension),
    )
    pairs = largest_eigenpairs(operator, count, by=by, tolerance=1e-9, storage=torch.float64, seed=seed)
    scale = np.abs(np.linalg.eigvalsh(matrix)).max()
    assert np.sort(pairs.values.numpy()) == pytest.approx(np.sort(theirs), rel=0, abs=1e-9 * scale)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([1e-1, 1e-2, 1e-4]), st.sampled_from([torch.float32, torch.float64]), st.integers(0, 999))
def test_a_residual_is_the_true_one_and_an_eigenvalue_lies_within_it(
    tolerance: float, dtype: torch.dtype, seed: int
) -> None:
    spectrum = torch.tensor(np.random.default_rng(seed).normal(0, 5, 200))
    operator, _ = with_spectrum(spectrum, seed, dtype)
    pairs = largest_eigenpairs(operator, 4, tolerance=tolerance, seed=seed)
    assert pairs.converged.all()
    assert (pairs.residuals <= tolerance * pairs.values.abs()).all()
    for index, (value, residual) in enumerate(zip(pairs.values, pairs.residuals, strict=True)):
        vector = pairs.vectors.vector(index, spectrum)
        true = (operator.matrix.double() @ vector - value * vector).norm() / vector.norm()
        assert residual == pytest.approx(true.item(), rel=1e-2, abs=1e-5)
        assert (spectrum - value).abs().min() <= residual + 1e-5


def test_an_error_bar_of_squared_residual_over_gap_covers_a_separated_value() -> None:
    operator, _ = with_spectrum(INDEFINITE)
    pairs = largest_eigenpairs(operator, 4, tolerance=3e-2, storage=torch.float64)
    errors = (pairs.values - ordered(INDEFINITE, "algebraic")[:4]).abs()
    assert (errors <= pairs.error_bars + 1e-10).all()
    assert (pairs.error_bars < pairs.residuals / 10).all()


def test_the_error_bar_is_too_short_beside_a_neighbour_that_was_not_told_apart() -> None:
    spectrum = [100.0, 50.0, 49.9, *np.random.default_rng(0).normal(0, 1, 200)]
    operator, _ = with_spectrum(spectrum)
    pairs = largest_eigenpairs(operator, 2, storage=torch.float64)
    error = (pairs.values[1] - 50.0).abs()
    assert pairs.error_bars[1] < error <= pairs.residuals[1]


def test_close_values_are_one_cluster_and_a_sharper_tolerance_parts_them() -> None:
    spectrum = [100.0, 99.0, 60.0, 50.0, *np.random.default_rng(0).normal(0, 10, 100)]
    coarse = largest_eigenpairs(with_spectrum(spectrum)[0], 2, tolerance=1e-1, storage=torch.float64)
    fine = largest_eigenpairs(with_spectrum(spectrum)[0], 2, tolerance=1e-2, storage=torch.float64)
    assert coarse.clusters == ((0, 1),)
    assert fine.clusters == ((0,), (1,))


def test_copies_of_an_eigenvalue_are_found_by_searching_again_and_missed_without() -> None:
    spectrum = [10.0, 10.0, 5.0, 4.0, *np.linspace(-3, 3, 95)]
    once = largest_eigenpairs(with_spectrum(spectrum)[0], 2, storage=torch.float64)
    again = largest_eigenpairs(with_spectrum(spectrum)[0], 2, storage=torch.float64, search_copies=True)
    assert once.values.tolist() == pytest.approx([10, 5], abs=1e-2)
    assert again.values.tolist() == pytest.approx([10, 10], abs=1e-2)
    assert again.clusters == ((0, 1),)


def test_the_whole_spectrum_of_a_small_operator_with_copies_is_exact() -> None:
    spectrum = [3.0, 3.0, 1.0, -2.0, -2.0, 0.0]
    pairs = largest_eigenpairs(with_spectrum(spectrum)[0], 6, storage=torch.float64)
    assert pairs.values.tolist() == pytest.approx(sorted(spectrum, reverse=True), abs=1e-12)


def test_no_ghosts_appear_after_many_restarts() -> None:
    spectrum = [1000.0, *np.linspace(0, 1, 199)]
    budget = 12 * 200 * 4 / 1e9
    operator, _ = with_spectrum(spectrum, dtype=torch.float32)
    pairs = largest_eigenpairs(operator, 4, tolerance=1e-3, budget_gb=budget, max_products=400)
    assert pairs.products > 40
    assert pairs.values[0].item() == pytest.approx(1000, rel=1e-5)
    assert (pairs.values[1:] <= 1.001).all()
    gram = torch.stack([pairs.vectors.dots(pairs.vectors.vector(i, torch.empty(0))) for i in range(4)])
    torch.testing.assert_close(gram, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-5)


@pytest.mark.parametrize("budget_vectors", [12, 64])
def test_scaled_float16_storage_keeps_the_true_residual_within_a_hundredth(budget_vectors: int) -> None:
    operator, _ = with_spectrum(INDEFINITE, dtype=torch.float32)
    budget = budget_vectors * 300 * 2 / 1e9
    pairs = largest_eigenpairs(operator, 5, by="magnitude", storage=torch.float16, budget_gb=budget)
    assert pairs.vectors.rows.dtype == torch.float16
    vector = pairs.vectors.vector(0, operator.matrix).double()
    quotient = vector @ operator.matrix.double() @ vector / (vector @ vector)
    assert pairs.values[0].item() == pytest.approx(quotient.item(), rel=1e-6)
    assert (pairs.residuals <= 1e-2 * pairs.values.abs()).all()
    torch.testing.assert_close(pairs.values, ordered(INDEFINITE, "magnitude")[:5], rtol=3e-4, atol=0)


def test_too_few_products_leave_values_marked_as_not_converged() -> None:
    spectrum = list(np.linspace(0, 1, 200))
    pairs = largest_eigenpairs(with_spectrum(spectrum)[0], 3, tolerance=1e-6, max_products=12)
    assert pairs.products == 12 + 3
    assert not pairs.converged.any()


def test_a_value_of_zero_converges_at_rounding() -> None:
    operator, _ = with_spectrum([0.0, *np.linspace(-5, -1, 49)])
    pairs = largest_eigenpairs(operator, 1, storage=torch.float64)
    assert pairs.converged.all()
    assert abs(pairs.values.item()) <= 1e-12


def test_clusters_chain_neighbours_through_any_order() -> None:
    values, residuals = torch.tensor([5.0, -3.0, 4.9, 1.0, 4.8]), torch.tensor([0.1, 0.1, 0.11, 0.1, 0.0])
    assert clusters_of(values, residuals) == ((0, 2, 4), (1,), (3,))


def test_a_cluster_shares_its_residual_over_the_gap_to_what_lies_outside() -> None:
    values, residuals = torch.tensor([10.0, 9.5, 4.0]).double(), torch.tensor([0.6, 0.8, 0.1]).double()
    bars = error_bars_of(values, residuals, torch.tensor([3.95]).double(), ((0, 1), (2,)))
    assert bars.tolist() == pytest.approx([1 / 6, 1 / 5.5, 0.1])


def test_a_budget_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match=r"7 vectors of 300 .* 8 are needed"):
        largest_eigenpairs(with_spectrum(INDEFINITE)[0], 5, budget_gb=7.5 * 300 * 4 / 1e9)


def test_a_product_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="product 1 of the operator is not finite"):
        largest_eigenpairs(DenseOperator(torch.full((4, 4), torch.nan)), 1)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"count": 0}, "ask for 1 to 3"),
        ({"count": 4}, "ask for 1 to 3"),
        ({"by": "smallest"}, "'smallest' is unknown"),
        ({"tolerance": 0.0}, "not positive"),
        ({"max_products": 1}, "allow 2 or more"),
    ],
)
def test_impossible_requests_are_refused(change: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        largest_eigenpairs(DenseOperator(torch.eye(3)), **({"count": 1} | change))
