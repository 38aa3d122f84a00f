"""Laws of the conflict matrix: against scikit-learn, SciPy, explicit deletion and Monte Carlo with known truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from merit_theory.conflict import (
    ConflictEstimate,
    as_symmetric,
    centred,
    check_micro_batches,
    cosine_from_gram,
    cosine_similarity,
    estimate_conflicts,
    gram_matrix,
    principal_axes,
    subspace_distance,
)

Floats = NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)
sizes = st.sampled_from([2, 3, 8, 17])


def gradients(n_tasks: int, seed: int, width: int = 12) -> Floats:
    """Task gradients [n_tasks, width] with a shared mean and norms over two decades."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n_tasks, width)) + rng.standard_normal(width)) * 10 ** rng.uniform(-1, 1, (n_tasks, 1))


def noisy_batches(rng: np.random.Generator, means: Floats, noise: float, counts: NDArray[np.int64]) -> Floats:
    """Micro-batch sums [n_tasks, m, k] of answer tokens with independent noise around each task's mean gradient."""
    shape = (*counts.shape, means.shape[1])
    return counts[..., None] * means[:, None] + noise * np.sqrt(counts)[..., None] * rng.standard_normal(shape)


# --- Gram and cosine ---------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(sizes, seeds)
def test_cosine_is_the_inner_product_of_unit_gradients(n_tasks: int, seed: int) -> None:
    sketches = gradients(n_tasks, seed)
    units = [row / np.linalg.norm(row) for row in sketches]
    np.testing.assert_allclose(cosine_similarity(sketches), np.inner(units, units), rtol=0, atol=1e-14)


@settings(deadline=None)
@given(sizes, seeds)
def test_cosine_ignores_positive_scale_and_mirrors_a_sign(n_tasks: int, seed: int) -> None:
    sketches = gradients(n_tasks, seed)
    scale = 10 ** np.random.default_rng(seed).uniform(-6, 6, n_tasks)
    cosine = cosine_similarity(sketches)
    np.testing.assert_allclose(cosine_similarity(scale[:, None] * sketches), cosine, rtol=0, atol=1e-14)
    sketches[0] *= -1
    np.testing.assert_allclose(cosine_similarity(sketches)[0, 1:], -cosine[0, 1:], rtol=0, atol=1e-14)
    assert not np.allclose(gram_matrix(scale[:, None] * sketches), gram_matrix(sketches))


def test_cosine_of_float32_sketches_is_computed_in_float64() -> None:
    sketches = gradients(5, seed=0, width=4096).astype(np.float32)
    cosine = cosine_similarity(sketches)
    assert cosine.dtype == np.float64
    np.testing.assert_allclose(cosine, cosine_similarity(sketches.astype(np.float64)), rtol=0, atol=1e-15)
    assert (np.diagonal(cosine) == 1).all()


# --- centring and axes -------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(sizes, seeds)
def test_double_centring_is_the_gram_matrix_of_mean_free_gradients(n_tasks: int, seed: int) -> None:
    sketches = gradients(n_tasks, seed)
    gram = gram_matrix(sketches)
    expected = gram_matrix(sketches - sketches.mean(axis=0))
    atol = 1e-13 * np.abs(gram).max()
    np.testing.assert_allclose(centred(gram, "double"), expected, rtol=0, atol=atol)
    projector = np.eye(n_tasks) - 1 / n_tasks
    np.testing.assert_allclose(centred(gram, "rows"), projector @ gram, rtol=0, atol=atol)
    np.testing.assert_array_equal(centred(gram, "none"), gram)


@settings(deadline=None)
@given(sizes, seeds)
def test_balanced_signs_see_only_the_double_centred_matrix(n_tasks: int, seed: int) -> None:
    gram = gram_matrix(gradients(n_tasks, seed))
    signs = np.resize([1.0, -1.0], n_tasks - n_tasks % 2)
    even = gram[: len(signs), : len(signs)]
    for centre in ("none", "rows", "double"):
        assert signs @ centred(even, centre) @ signs == pytest.approx(signs @ even @ signs, abs=1e-12 * even.max())
    lopsided = np.ones(len(signs))
    assert abs(lopsided @ centred(even, "double") @ lopsided) < 1e-9 * np.abs(even).sum()


@settings(deadline=None)
@given(st.sampled_from([3, 8, 17]), seeds)
def test_row_axes_are_the_scores_of_scikit_learn(n_tasks: int, seed: int) -> None:
    matrix = cosine_similarity(gradients(n_tasks, seed, width=40))
    axes = principal_axes(matrix, 2, centre="rows")
    oracle = PCA(n_components=2, svd_solver="full").fit(matrix)
    scores = oracle.transform(matrix)
    scores *= np.sign((scores * axes.coordinates).sum(axis=0))
    np.testing.assert_allclose(axes.coordinates, scores, rtol=0, atol=1e-9)
    np.testing.assert_allclose(axes.eigenvalues, oracle.explained_variance_, rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@given(sizes, seeds)
def test_all_double_centred_axes_give_back_every_distance_between_gradients(n_tasks: int, seed: int) -> None:
    sketches = gradients(n_tasks, seed)
    places = principal_axes(gram_matrix(sketches), n_tasks, centre="double").coordinates

    def squared_distances(points: Floats) -> Floats:
        return ((points[:, None] - points[None, :]) ** 2).sum(axis=-1)

    expected = squared_distances(sketches)
    np.testing.assert_allclose(squared_distances(places), expected, rtol=0, atol=1e-12 * (sketches**2).sum())


@settings(deadline=None)
@given(sizes, seeds)
def test_uncentred_axes_rebuild_the_matrix_and_centred_ones_do_not(n_tasks: int, seed: int) -> None:
    gram = gram_matrix(gradients(n_tasks, seed))
    uncentred = principal_axes(gram, n_tasks, centre="none").coordinates
    np.testing.assert_allclose(uncentred @ uncentred.T, gram, rtol=0, atol=1e-12 * np.trace(gram))
    double = principal_axes(gram, n_tasks, centre="double").coordinates
    assert not np.allclose(double @ double.T, gram, rtol=0, atol=1e-6 * np.trace(gram))


@settings(deadline=None)
@given(sizes, seeds, st.sampled_from(["none", "rows", "double"]))
def test_the_largest_coordinate_of_every_axis_is_positive(n_tasks: int, seed: int, centre: str) -> None:
    places = principal_axes(cosine_similarity(gradients(n_tasks, seed)), n_tasks, centre=centre).coordinates
    for axis in places.T:
        assert axis.max() >= (1 - 1e-8) * np.abs(axis).max()


def test_the_first_of_equally_large_coordinates_is_positive_whatever_the_rounding() -> None:
    for rounding in (-1e-15, 0.0, 1e-15):
        matrix = [[1.0 + rounding, -1.0], [-1.0, 1.0 - rounding]]
        assert principal_axes(matrix, 1, centre="none").coordinates[0, 0] > 0


def test_an_indefinite_matrix_leads_with_its_largest_eigenvalue_and_not_its_largest_size() -> None:
    positive, negative = np.array([1.0, -1.0, 0.0]) / np.sqrt(2), np.array([1.0, 1.0, -2.0]) / np.sqrt(6)
    matrix = 0.5 * np.outer(positive, positive) - 3 * np.outer(negative, negative)
    axes = principal_axes(matrix, 3, centre="double")
    np.testing.assert_allclose(axes.coordinates[:, 0], np.sqrt(0.5) * positive, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(axes.coordinates[:, 1:], 0)
    np.testing.assert_allclose(axes.eigenvalues, [0.5, 0, -3], rtol=0, atol=1e-12)
    rows = principal_axes(matrix, 1, centre="rows")
    assert subspace_distance(rows.coordinates, negative[:, None]) < 1e-12


def test_tasks_that_agree_entirely_have_no_axis() -> None:
    for centre in ("rows", "double"):
        np.testing.assert_array_equal(principal_axes(np.full((11, 11), 0.7), 2, centre=centre).coordinates, 0)


@settings(deadline=None)
@given(st.sampled_from([(4, 1), (8, 3), (20, 5)]), seeds, st.sampled_from([1.0, 1e-4, 1e-10]))
def test_subspace_distance_is_the_sine_of_the_largest_principal_angle(
    shape: tuple[int, int], seed: int, step: float
) -> None:
    rng = np.random.default_rng(seed)
    first = rng.standard_normal(shape)
    second = first @ rng.standard_normal((shape[1], shape[1])) + step * rng.standard_normal(shape)
    expected = np.sin(subspace_angles(first, second).max())
    conditioning = np.linalg.cond(first) * np.linalg.cond(second)
    assert subspace_distance(first, second) == pytest.approx(expected, rel=1e-6, abs=1e-14 * conditioning)


@settings(deadline=None)
@given(seeds)
def test_subspace_distance_is_symmetric_and_ignores_the_basis(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.standard_normal((2, 9, 3))
    distance = subspace_distance(first, second)
    assert distance == pytest.approx(subspace_distance(second, first), abs=1e-12)
    assert distance == pytest.approx(subspace_distance(first[:, ::-1] * [1.0, -2.0, 3.0], second), abs=1e-10)


# --- estimation --------------------------------------------------------------------------------------------------


def test_noise_of_equal_batches_is_the_textbook_variance_of_a_mean() -> None:
    rng = np.random.default_rng(1)
    sums = rng.standard_normal((4, 6, 30)) + 1
    estimate = estimate_conflicts(sums, np.full((4, 6), 5))
    noise = (sums / 5).var(axis=1, ddof=1).sum(axis=1) / 6
    squared_norms = ((sums / 5).mean(axis=1) ** 2).sum(axis=1)
    np.testing.assert_allclose(estimate.reliability, (squared_norms - noise) / squared_norms, rtol=1e-12)
    np.testing.assert_allclose(estimate.norms, np.sqrt(squared_norms), rtol=1e-12)


@settings(deadline=None)
@given(st.sampled_from([(2, 3, 4), (3, 2, 5)]), seeds)
def test_estimate_does_not_depend_on_the_scale_of_a_task_or_the_unit_of_counts(
    batches: tuple[int, ...], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    counts = [rng.integers(1, 30, m) for m in batches]
    sums = [count[:, None] * (rng.standard_normal(7) + rng.standard_normal((len(count), 7))) for count in counts]
    plain = estimate_conflicts(sums, counts)
    scaled = estimate_conflicts([1e3 * sums[0], *sums[1:]], [counts[0], 4 * counts[1], counts[2]])
    for name in ("cosine", "corrected", "standard_error", "reliability"):
        np.testing.assert_allclose(getattr(scaled, name), getattr(plain, name), rtol=0, atol=1e-11)
    np.testing.assert_allclose(scaled.norms / plain.norms, [1e3, 0.25, 1], rtol=1e-12)


@settings(deadline=None)
@given(st.sampled_from([(2, 3, 4), (5, 2, 3)]), seeds)
def test_standard_error_is_the_jackknife_written_out(batches: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = [rng.integers(1, 30, m) for m in batches]
    sums = [count[:, None] * (1 + rng.standard_normal((len(count), 5))) for count in counts]

    def cosine_without(task: int, batch: int) -> Floats:
        kept = [np.arange(m) != (batch if index == task else -1) for index, m in enumerate(batches)]
        means = [s[keep].sum(axis=0) / n[keep].sum() for s, n, keep in zip(sums, counts, kept, strict=True)]
        return cosine_similarity(means)

    variance = np.zeros((3, 3))
    for task, m in enumerate(batches):
        replicates = np.array([cosine_without(task, batch) for batch in range(m)])
        variance += (m - 1) / m * ((replicates - replicates.mean(axis=0)) ** 2).sum(axis=0)
    estimate = estimate_conflicts(sums, counts)
    np.testing.assert_allclose(estimate.standard_error, np.sqrt(variance), rtol=0, atol=1e-7)
    pairs = np.sqrt(variance)[~np.eye(3, dtype=bool)].reshape(3, 2)
    np.testing.assert_allclose(estimate.task_standard_error, np.sqrt((pairs**2).mean(axis=1)), rtol=0, atol=1e-7)


def test_standard_errors_of_many_tasks_do_not_depend_on_how_products_are_grouped() -> None:
    rng = np.random.default_rng(5)
    counts = [rng.integers(1, 9, 2 + task % 3) for task in range(19)]
    sums = [count[:, None] * (1 + rng.standard_normal((len(count), 6))) for count in counts]
    whole = estimate_conflicts(sums, counts).standard_error
    for chosen in ([0, 7, 8, 18], [15, 16, 17]):
        part = estimate_conflicts([sums[task] for task in chosen], [counts[task] for task in chosen])
        np.testing.assert_allclose(part.standard_error, whole[np.ix_(chosen, chosen)], rtol=0, atol=1e-12)


def test_without_noise_everything_is_certain() -> None:
    counts = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [2, 2, 2]])
    sums = counts[..., None] * gradients(4, seed=2)[:, None]
    estimate = estimate_conflicts(sums, counts)
    np.testing.assert_allclose(estimate.reliability, 1, rtol=1e-14)
    np.testing.assert_allclose(estimate.corrected, estimate.cosine, rtol=0, atol=1e-14)
    np.testing.assert_allclose(estimate.standard_error, 0, rtol=0, atol=1e-14)
    np.testing.assert_allclose(estimate.micro_batches_for(0.95), 0, rtol=0, atol=1e-10)


# Mean gradients [3, k], true noise [3], token counts [3, 8] and the estimates.
Replicated = tuple[Floats, Floats, NDArray[np.int64], list[ConflictEstimate]]


@pytest.fixture(scope="module")
def replicated() -> Replicated:
    """Three tasks with known mean gradients, measured 600 times on 8 micro-batches of unequal token counts."""
    rng = np.random.default_rng(11)
    means = (
        np.array([[3.0, 0.0, 1.0], [2.0, 2.0, 1.0], [-1.0, 2.0, 2.0]])
        @ np.linalg.qr(rng.standard_normal((40, 40))).Q[:3]
    )
    counts = rng.integers(5, 15, (3, 8))
    noise = 3.0
    estimates = [estimate_conflicts(noisy_batches(rng, means, noise, counts), counts) for _ in range(600)]
    return means, noise**2 * 40 / counts.sum(axis=1), counts, estimates


def test_noise_estimate_is_low_by_the_spread_of_counts_alone(replicated: Replicated) -> None:
    _, noise, counts, estimates = replicated
    measured = np.array([(1 - estimate.reliability) * estimate.norms**2 for estimate in estimates])
    bias = (counts.std(axis=1) / counts.mean(axis=1)) ** 2 / 7
    error = measured.std(axis=0) / np.sqrt(len(measured))
    assert (np.abs(measured.mean(axis=0) - noise * (1 - bias)) < 4 * error).all()


def test_signal_and_noise_add_up_to_the_norm(replicated: Replicated) -> None:
    means, noise, _, estimates = replicated
    measured = np.array([estimate.norms**2 for estimate in estimates])
    error = measured.std(axis=0) / np.sqrt(len(measured))
    assert (np.abs(measured.mean(axis=0) - (means**2).sum(axis=1) - noise) < 4 * error).all()


def test_reliability_is_the_cosine_between_two_measurements_of_one_task(replicated: Replicated) -> None:
    means, noise, _, estimates = replicated
    rng = np.random.default_rng(3)
    first, second = (means[0] + np.sqrt(noise[0] / 40) * rng.standard_normal((4000, 40)) for _ in range(2))
    cosines = (first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    # A mean of ratios against a ratio of means: equal up to O(1/k).
    assert np.mean([estimate.reliability[0] for estimate in estimates]) == pytest.approx(cosines.mean(), abs=0.015)


def test_noise_attenuates_cosines_and_the_correction_undoes_it(replicated: Replicated) -> None:
    means, noise, _, estimates = replicated
    truth = cosine_similarity(means)
    reliability = (means**2).sum(axis=1) / ((means**2).sum(axis=1) + noise)
    naive = np.mean([estimate.cosine for estimate in estimates], axis=0)
    corrected = np.mean([estimate.corrected for estimate in estimates], axis=0)
    off_diagonal = ~np.eye(3, dtype=bool)
    attenuated = truth * np.sqrt(np.outer(reliability, reliability))
    np.testing.assert_allclose(naive[off_diagonal], attenuated[off_diagonal], rtol=0, atol=0.02)
    np.testing.assert_allclose(corrected, truth, rtol=0, atol=0.03)
    assert np.abs(naive - truth)[off_diagonal].max() > 0.1


def test_standard_error_is_the_spread_over_replications(replicated: Replicated) -> None:
    *_, estimates = replicated
    off_diagonal = ~np.eye(3, dtype=bool)
    spread = np.std([estimate.cosine for estimate in estimates], axis=0)[off_diagonal]
    claimed = np.sqrt(np.mean([estimate.standard_error**2 for estimate in estimates], axis=0))[off_diagonal]
    # The product of both noises is counted twice: on the wide side by less than a quarter at this reliability.
    assert (claimed > 0.93 * spread).all()
    assert (claimed < 1.25 * spread).all()


def test_standard_error_is_too_small_when_micro_batches_are_not_independent() -> None:
    rng = np.random.default_rng(4)
    means = gradients(2, seed=1, width=10)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    counts = np.full((2, 4), 10)
    replications = [noisy_batches(rng, means, 0.3, counts) for _ in range(400)]
    copied = [estimate_conflicts(sums.repeat(4, axis=1), counts.repeat(4, axis=1)) for sums in replications]
    spread = np.std([estimate.cosine[0, 1] for estimate in copied])
    assert np.sqrt(np.mean([estimate.standard_error[0, 1] ** 2 for estimate in copied])) < 0.6 * spread


def test_spearman_brown_foretells_the_reliability_of_more_micro_batches() -> None:
    rng = np.random.default_rng(6)
    means = np.zeros((2, 60))
    means[:, 0] = 1.0
    few = [
        estimate_conflicts(noisy_batches(rng, means, 1.0, np.full((2, 4), 10)), np.full((2, 4), 10)) for _ in range(300)
    ]
    needed = round(float(np.median([estimate.micro_batches_for(0.8) for estimate in few])))
    assert needed == pytest.approx(4 * 60 / 40 * 4, rel=0.1)
    counts = np.full((2, needed), 10)
    many = [estimate_conflicts(noisy_batches(rng, means, 1.0, counts), counts) for _ in range(300)]
    assert np.mean([estimate.reliability for estimate in many]) == pytest.approx(0.8, abs=0.02)


def test_a_task_of_pure_noise_is_marked_and_keeps_its_measured_cosines() -> None:
    sums = np.array([[[9.0, 1.0], [-8.0, -1.0]], [[1.0, 1.0], [1.0, 1.1]], [[1.0, 0.0], [1.0, 0.2]]])
    estimate = estimate_conflicts(sums, np.ones((3, 2)))
    assert estimate.unreliable == (0,)
    np.testing.assert_array_equal(estimate.corrected[0], estimate.cosine[0])
    np.testing.assert_array_equal(estimate.corrected[:, 0], estimate.cosine[:, 0])
    assert estimate.corrected[1, 2] > estimate.cosine[1, 2]
    assert np.isposinf(estimate.micro_batches_for(0.95)[0])
    assert np.isfinite(estimate.micro_batches_for(0.95)[1:]).all()


def test_a_task_with_little_but_measurable_signal_is_not_marked() -> None:
    # Mean 1.05, noise 0.95²: the share of signal is 0.2 / 1.1025.
    estimate = estimate_conflicts(np.array([[[2.0], [0.1]], [[1.0], [1.0]]]), np.ones((2, 2)))
    assert estimate.unreliable == ()
    assert estimate.reliability[0] == pytest.approx(0.2 / 1.1025)


@settings(deadline=None)
@given(seeds, st.sampled_from([0.1, 1.0, 100.0]))
def test_no_noise_level_takes_an_estimate_out_of_its_range(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 9, (6, 2))
    estimate = estimate_conflicts(noisy_batches(rng, rng.standard_normal((6, 3)), noise, counts), counts)
    for matrix in (estimate.cosine, estimate.corrected):
        assert (np.abs(matrix) <= 1).all()
        np.testing.assert_array_equal(matrix, matrix.T)
        np.testing.assert_array_equal(np.diagonal(matrix), 1)
    assert ((estimate.reliability >= 0) & (estimate.reliability <= 1)).all()
    assert np.isfinite(estimate.standard_error).all()


def test_a_deleted_gradient_that_vanishes_counts_as_at_right_angles_to_all() -> None:
    sums = [np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])]
    # Deleting the only micro-batch that carries the gradient: cosines 0 and 1, variance (2-1)/2 · (½² + ½²).
    assert estimate_conflicts(sums, [[1, 1], [1, 1]]).standard_error[0, 1] == pytest.approx(0.5)


# --- refusals ----------------------------------------------------------------------------------------------------


def test_a_task_without_gradient_is_named() -> None:
    sketches = np.ones((4, 3))
    sketches[2] = 0
    with pytest.raises(ValueError, match="task 2 has a zero gradient"):
        cosine_similarity(sketches)
    with pytest.raises(ValueError, match="task 1 has a zero gradient"):
        estimate_conflicts(np.array([[[1.0], [1.0]], [[1.0], [-1.0]]]), np.ones((2, 2)))


@pytest.mark.parametrize(
    ("sums", "counts", "complaint"),
    [
        (np.ones((2, 3, 4)), np.ones((3, 3)), "sums of 2 tasks and counts of 3"),
        (np.ones((1, 3, 4)), np.ones((1, 3)), "at least 2"),
        (np.ones((2, 1, 4)), np.ones((2, 1)), "task 0 has 1 micro-batch"),
        ([np.ones((2, 4)), np.ones((2, 5))], np.ones((2, 2)), r"task 1 has sums of shape \(2, 5\)"),
        ([np.ones((2, 4)), np.ones((3, 4))], np.ones((2, 2)), r"task 1 has sums of shape \(3, 4\)"),
        ([np.ones((2, 4)), np.full((2, 4), np.nan)], np.ones((2, 2)), "task 1 has non-finite"),
        (np.ones((2, 2, 4)), [[1, 1], [1, 0]], "task 1 has a micro-batch without answer tokens"),
    ],
)
def test_micro_batches_that_tell_nothing_are_refused(sums: list, counts: list, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check_micro_batches(sums, counts)


def test_matrices_that_are_none_between_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        gram_matrix(np.ones(3))
    with pytest.raises(ValueError, match="task 1 has non-finite"):
        gram_matrix([[1.0], [np.inf]])
    with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
        as_symmetric(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"\(0, 1\) and \(1, 0\) differ"):
        cosine_from_gram([[1.0, 0.5], [0.4, 1.0]])
    with pytest.raises(ValueError, match="centre is 'columns'"):
        centred(np.eye(2), "columns")
    with pytest.raises(ValueError, match="3 axes asked of 2 tasks"):
        principal_axes(np.eye(2), 3, centre="none")


def test_coordinates_that_span_too_little_are_refused() -> None:
    with pytest.raises(ValueError, match="ranks 2 and 1"):
        subspace_distance(np.eye(3, 2), np.ones((3, 2)))
    with pytest.raises(ValueError, match="expected the same"):
        subspace_distance(np.eye(3, 2), np.eye(3, 1))
    with pytest.raises(ValueError, match="non-finite"):
        subspace_distance(np.eye(3, 1), np.full((3, 1), np.nan))


def test_a_reliability_of_one_cannot_be_asked_for() -> None:
    estimate = estimate_conflicts(np.ones((2, 2, 1)), np.ones((2, 2)))
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        estimate.micro_batches_for(1.0)
