"""Conflict directions and their closeness to a space, from inner products alone: as from the vectors themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, stats

from diagnostics.alignment_frames import (
    ConflictFrame,
    InnerProducts,
    between_halves,
    closeness,
    conflict_frames,
    outermost_tasks,
    placed,
)
from diagnostics.alignment_nulls import random_coefficients, random_vector_cosine
from merit_theory.conflict import Centre

seeds = st.integers(0, 2**32 - 1)
centres = st.sampled_from(["none", "double"])


def products(vectors: np.ndarray, basis: np.ndarray) -> InnerProducts:
    """Of ``vectors`` [n, d] with themselves and an orthonormal ``basis`` [l, d]."""
    return InnerProducts(vectors @ vectors.T, vectors @ basis.T)


def orthonormal(rng: np.random.Generator, count: int, dimension: int) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((dimension, count))).Q.T


def halves_of(gradients: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Two noisy copies of each gradient, one after the other."""
    return np.stack([gradients + noise, gradients - noise], axis=1).reshape(-1, gradients.shape[1])


def evenly(tasks: int) -> np.ndarray:
    return np.kron(np.eye(tasks), [[0.5, 0.5]])


@given(seeds, centres)
@settings(max_examples=30)
def test_directions_are_the_singular_vectors_of_the_gradients(seed: int, centre: Centre) -> None:
    rng = np.random.default_rng(seed)
    gradients = rng.standard_normal((5, 30)) * rng.uniform(0.1, 10, (5, 1))
    gram = gradients @ gradients.T
    frame = ConflictFrame.of(gram, 3, centre)
    lifted = frame.lifts(gram) @ gradients
    columns = gradients
    if centre == "double":
        units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
        columns = units - units.mean(axis=0)
    _, scales, directions = np.linalg.svd(columns, full_matrices=False)
    np.testing.assert_allclose(np.abs(lifted @ directions[:3].T), np.eye(3), atol=1e-6)
    np.testing.assert_allclose(frame.explained, (scales**2 / (scales**2).sum())[:3], rtol=1e-9)


@given(seeds, st.integers(1, 4), st.integers(1, 5))
@settings(max_examples=30)
def test_closeness_is_that_of_the_vectors(seed: int, directions: int, subspace: int) -> None:
    rng = np.random.default_rng(seed)
    gradients, basis = rng.standard_normal((5, 30)), orthonormal(rng, subspace, 30)
    coefficients = rng.standard_normal((7, directions, 5))
    found = closeness(products(gradients, basis), coefficients)
    for draw in range(7):
        lifted = coefficients[draw] @ gradients
        unit = lifted / np.linalg.norm(lifted, axis=1, keepdims=True)
        np.testing.assert_allclose(found.eigenspace[draw], np.linalg.norm(unit @ basis.T, axis=1), rtol=1e-9)
        np.testing.assert_allclose(found.nearest[draw], np.abs(unit @ basis.T).max(axis=1), rtol=1e-9)
        angles = linalg.subspace_angles(lifted.T, basis.T)
        assert found.leading[draw] == pytest.approx(np.cos(angles.min()), rel=1e-6)
        assert found.largest[draw] == found.nearest[draw].max()
        assert found.mean_nearest[draw] == pytest.approx(found.nearest[draw].mean())


def test_directions_that_depend_on_each_other_span_what_they_span() -> None:
    gradients, basis = np.eye(4)[:2], np.eye(4)[:1] @ linalg.expm(np.diag([0.7, 0, 0], 1) - np.diag([0.7, 0, 0], -1))
    found = closeness(products(gradients, basis), np.array([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0]]))
    assert found.leading == pytest.approx(abs(basis[0, 0]))


@pytest.mark.parametrize("centre", ["none", "double"])
def test_a_planted_alignment_is_found_and_ranks_at_the_top(centre: Centre) -> None:
    rng = np.random.default_rng(0)
    basis = orthonormal(rng, 3, 500)
    # Tasks differ along the first eigenvector, half of them either way.
    sides = np.array([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])
    outside = rng.standard_normal((6, 500))
    outside -= outside @ basis.T @ basis
    gradients = 3 * sides[:, None] * basis[0] + outside / np.sqrt(500)
    halves = halves_of(gradients, 1e-9 * rng.standard_normal((6, 500)))
    inner = products(halves, basis)
    found = placed(conflict_frames(inner.gram, evenly(6), 2, centre), inner, evenly(6), 1000, np.random.default_rng(1))
    first = found.eigenspace[0]
    assert first.value == pytest.approx(1, abs=0.02)
    assert found.nearest[0].value == pytest.approx(first.value, abs=1e-6)
    assert found.eigenvectors[0] == 0
    assert first.span.rank > 0.995
    assert first.span.verdict == "above"
    assert first.permutation.rank > 0.9
    assert found.leading.value >= first.value
    assert found.half_cosines[0] == pytest.approx(1)


def test_gradients_that_are_eigenvectors_have_cosine_one() -> None:
    basis = orthonormal(np.random.default_rng(0), 4, 50)
    halves = halves_of(basis * [[4.0], [3.0], [2.0], [1.0]], np.zeros((4, 50)))
    inner = products(halves, basis)
    found = placed(conflict_frames(inner.gram, evenly(4), 3, "none"), inner, evenly(4), 100, np.random.default_rng(1))
    assert [statistic.value for statistic in found.nearest] == pytest.approx([1, 1, 1])
    assert found.eigenvectors == (0, 1, 2)
    assert found.corrected == pytest.approx([1, 1, 1])
    # Any combination lies in the eigenspace, so being there says nothing; lying along one eigenvector does.
    assert found.eigenspace[0].span.rank == pytest.approx(0.5)
    assert found.nearest[0].span.rank > 0.99


def test_where_gradients_know_nothing_of_the_eigenspace_ranks_are_uniform_and_z_scores_small() -> None:
    ranks, scores = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        inner = products(rng.standard_normal((12, 300)), orthonormal(rng, 3, 300))
        found = placed(conflict_frames(inner.gram, evenly(6), 1, "double"), inner, evenly(6), 199, rng)
        ranks.append(found.eigenspace[0].span.rank)
        mean, deviation = random_vector_cosine(300, 3)
        scores.append((found.eigenspace[0].value - mean) / deviation)
    assert stats.kstest(ranks, "uniform").pvalue > 0.01
    assert abs(np.mean(scores)) < 0.3


@pytest.mark.parametrize("centre", ["none", "double"])
def test_any_combination_of_real_gradients_has_a_huge_z_score(centre: Centre) -> None:
    # What networks are like: gradients have most of their length in few directions, and so has the Hessian.
    dimension, rng = 10**8, np.random.default_rng(0)
    inside, outside = rng.standard_normal((6, 10)), rng.standard_normal((6, 200)) / np.sqrt(20)
    vectors = InnerProducts(inside @ inside.T + outside @ outside.T, inside)
    mean, deviation = random_vector_cosine(dimension, 10)
    combinations = closeness(vectors, random_coefficients(6, 1, centre, 500, rng)).eigenspace
    assert (combinations - mean).min() / deviation > 1000


def test_noise_is_taken_out_by_comparing_halves() -> None:
    rng = np.random.default_rng(0)
    basis = np.eye(5000)[:4]
    signal = np.zeros((3, 5000))
    signal[:, :8] = rng.standard_normal((3, 8))
    coefficients = np.array([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]])
    truth = closeness(products(signal, basis), coefficients).eigenspace
    seen, agreement, corrected = [], [], []
    for _ in range(30):
        noise = 0.1 * rng.standard_normal((2, 3, 5000))
        halves = np.stack([signal + noise[0], signal + noise[1]], axis=1).reshape(6, 5000)
        inner = products(halves, basis)
        seen.append(closeness(inner.mixed(evenly(3)), coefficients).eigenspace)
        for found, value in zip((agreement, corrected), between_halves(inner, coefficients), strict=True):
            found.append(value)
    assert (np.mean(seen, axis=0) < 0.7 * truth).all()
    assert np.mean(corrected, axis=0) == pytest.approx(truth, rel=0.06)
    lengths = np.linalg.norm(coefficients @ signal, axis=1) ** 2
    expected = lengths / (lengths + 0.01 * 5000 * (coefficients**2).sum(axis=1))
    assert np.mean(agreement, axis=0) == pytest.approx(expected, abs=0.01)


def test_halves_that_contradict_each_other_leave_nothing_to_correct() -> None:
    basis = np.eye(6)[:2]
    halves = np.concatenate([np.eye(6)[[0]], -np.eye(6)[[0]], np.eye(6)[[3]], np.eye(6)[[3]]])
    agreement, corrected = between_halves(products(halves, basis), np.eye(2))
    assert agreement.tolist() == [-1, 1]
    assert np.isnan(corrected).all(), "no norm in common, and no part of it in the space"


def test_no_frame_has_more_directions_than_the_poorest_half() -> None:
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((4, 20))
    halves = halves_of(gradients, np.zeros((4, 20)))
    halves[1::2] = halves[1]  # the second half tells no tasks apart
    gram = halves @ halves.T
    assert [len(frame.coefficients) for frame in conflict_frames(gram, evenly(4), 3, "none")] == [1, 1, 1]
    assert [len(frame.coefficients) for frame in conflict_frames(gram, evenly(4), 3, "double")] == [0, 0, 0]


def test_two_tasks_have_one_conflict_which_no_chance_can_move() -> None:
    rng = np.random.default_rng(0)
    inner = products(rng.standard_normal((4, 40)), orthonormal(rng, 3, 40))
    found = placed(conflict_frames(inner.gram, evenly(2), 3, "double"), inner, evenly(2), 200, rng)
    assert len(found.eigenspace) == 1
    assert found.eigenspace[0].span.rank == found.eigenspace[0].permutation.rank == 0.5


def test_the_outermost_task_of_each_quadrant_is_chosen() -> None:
    places = np.array([[3.0, 1.0], [1.0, 0.5], [2.0, -1.0], [1.0, -0.1], [-3.0, -1.0], [-4.0, 0.6]])
    places -= places.mean(axis=0)
    # Unit vectors whose double-centred inner products are those of the places.
    heights = np.sqrt(1 - ((0.1 * places) ** 2).sum(axis=1))
    units = np.column_stack([0.1 * places, heights])
    cosine = units @ units.T
    assert outermost_tasks(cosine, 4) == (0, 2, 4, 5)
    assert outermost_tasks(cosine, 1) == (5,)
    assert outermost_tasks(np.array([[1.0, 0.3], [0.3, 1.0]]), 4) == (0, 1)
