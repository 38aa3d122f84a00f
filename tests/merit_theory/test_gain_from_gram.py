"""Theorem 3.1/F.1 on its exact instances, on random quadratics, and where its hypotheses are dropped."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from merit_theory.gain_from_gram import gain_from_gram

Instance = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


@st.composite
def quadratics(draw: st.DrawFn, signed: bool = True) -> Instance:
    """A Hessian [d, d], displacements [K, d] and weights [K] with sum one; spectra over six decades."""
    dimension = draw(st.sampled_from([1, 2, 5, 8]))
    branches = draw(st.sampled_from([1, 2, 3, 8]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    eigenvalues = 10 ** rng.uniform(-3, 3, dimension) * rng.choice([-1, 0, 1] if signed else [0, 1], dimension)
    basis = np.linalg.qr(rng.standard_normal((dimension, dimension))).Q
    hessian = (basis * eigenvalues) @ basis.T
    displacements = rng.standard_normal((branches, dimension))
    weights = rng.dirichlet(np.ones(branches))
    if signed and branches > 1:
        weights += rng.standard_normal(branches)
        weights -= (weights.sum() - 1) / branches
    return (hessian + hessian.T) / 2, displacements, weights


def scale_of(gram: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    return float(np.abs(weights).sum() ** 2 * np.abs(gram).max()) + 1e-300


@settings(deadline=None)
@given(quadratics(), st.integers(0, 2**32 - 1))
def test_gain_is_mean_branch_loss_minus_merged_loss_for_any_symmetric_hessian(instance: Instance, seed: int) -> None:
    hessian, displacements, weights = instance
    slope = np.random.default_rng(seed).standard_normal(len(hessian))

    def loss(displacement: NDArray[np.float64]) -> float:
        return float(0.7 + slope @ displacement + displacement @ hessian @ displacement / 2)

    branch_losses = np.array([loss(displacement) for displacement in displacements])
    measured = weights @ branch_losses - loss(weights @ displacements)
    scale = np.abs(weights) @ np.abs(branch_losses) + scale_of(hessian, weights)
    assert gain_from_gram(displacements @ hessian @ displacements.T, weights) == pytest.approx(
        measured, rel=0, abs=1e-11 * scale
    )


@settings(deadline=None)
@given(quadratics())
def test_gain_equals_its_pairwise_form(instance: Instance) -> None:
    hessian, displacements, weights = instance
    gram = displacements @ hessian @ displacements.T
    pairwise = 0.5 * sum(
        weights[i] * weights[j] * (gram[i, i] + gram[j, j] - 2 * gram[i, j])
        for i, j in combinations(range(len(weights)), 2)
    )
    assert gain_from_gram(gram, weights) == pytest.approx(pairwise, rel=0, abs=1e-12 * scale_of(gram, weights))


@settings(deadline=None)
@given(quadratics(signed=False))
def test_gain_is_never_negative_in_a_convex_basin_with_non_negative_weights(instance: Instance) -> None:
    hessian, displacements, weights = instance
    gram = displacements @ hessian @ displacements.T
    assert gain_from_gram(gram, weights) >= -1e-12 * scale_of(gram, weights)


@settings(deadline=None)
@given(quadratics(), st.integers(0, 2**32 - 1))
def test_gain_does_not_see_a_displacement_common_to_all_branches(instance: Instance, seed: int) -> None:
    hessian, displacements, weights = instance
    shifted = displacements + np.random.default_rng(seed).standard_normal(len(hessian))
    shifted_gram = shifted @ hessian @ shifted.T
    expected = gain_from_gram(displacements @ hessian @ displacements.T, weights)
    # Both sides round at the size of the Hessian's products, whichever of the two Gram matrices is larger.
    scale = scale_of(hessian, weights) * float((shifted**2).sum() + (displacements**2).sum())
    assert gain_from_gram(shifted_gram, weights) == pytest.approx(expected, rel=0, abs=1e-12 * scale)


def test_gain_is_negative_along_a_descending_curvature() -> None:
    displacements, hessian = np.array([[0.0, 1.0], [0.0, -1.0]]), np.diag([1.0, -1.0])
    assert gain_from_gram(displacements @ hessian @ displacements.T, [0.5, 0.5]) == -0.5


def test_gain_is_negative_for_a_weight_beyond_one() -> None:
    assert gain_from_gram(np.diag([1.0, 0.0]), [2.0, -1.0]) == -1.0


def test_gain_of_the_exact_three_branch_instance_is_39_eighths() -> None:
    displacements = np.array([[1.0, 2.0], [-1.0, 1.0], [0.0, -3.0]])
    gram = displacements @ np.array([[3.0, 1.0], [1.0, 2.0]]) @ displacements.T
    assert gain_from_gram(gram, [1 / 2, 1 / 3, 1 / 6]) == pytest.approx(39 / 8, rel=1e-14)


def test_gain_vanishes_for_equal_displacements_outside_the_null_space() -> None:
    assert gain_from_gram(np.ones((2, 2)), [0.25, 0.75]) == 0


@pytest.mark.parametrize(
    ("gram", "weights", "complaint"),
    [
        ([[1.0, 2.0], [0.0, 1.0]], [0.5, 0.5], r"not symmetric.*\(0, 1\)"),
        ([[1.0, np.nan], [np.nan, 1.0]], [0.5, 0.5], r"non-finite entry at \(0, 1\)"),
        ([[1.0, 0.0]], [1.0], r"shape \(1, 2\)"),
        ([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.4], "sum to 0.9"),
        ([[1.0, 0.0], [0.0, 1.0]], [1.0], "2 branches need one each"),
        ([[1.0, 0.0], [0.0, 1.0]], [0.5, np.inf], "weight 1 is not finite"),
    ],
)
def test_gain_refuses_what_is_no_matrix_of_products_or_no_merge(gram: list, weights: list, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        gain_from_gram(gram, weights)
