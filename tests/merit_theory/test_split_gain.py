"""Laws of F.10 to F.12: gains against their definition, means against enumeration, bounds where they hold and fail."""

from itertools import combinations, permutations, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from merit_theory.gain_from_gram import gain_from_gram
from merit_theory.hessian import DenseHessian
from merit_theory.partition import Partition, balanced_splits, between_group_objective, random_partition
from merit_theory.split_gain import (
    double_centred,
    expected_random_form,
    expected_random_gain,
    leading_axis,
    median_bound,
    median_split,
    partition_gain,
    ratio_to_random,
    sign_bound,
    signed_form,
    split_gain,
    task_matrix,
)

Floats = NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)
COUNTEREXAMPLE = np.array([[-2.0, -3.0], [-2.0, 4.0], [0.0, -1.0], [4.0, 0.0]])


def curved_gradients(n_tasks: int, seed: int) -> tuple[Floats, Floats]:
    """Heavy-tailed gradients [n_tasks, 5] with a shared mean, and a Hessian over four decades with a null space."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((5, 5))).Q
    hessian = (basis * (10 ** rng.uniform(-3, 1, 5) * [1, 1, 1, 1, 0])) @ basis.T
    return rng.standard_t(1.5, (n_tasks, 5)) + 3 * rng.standard_normal(5), (hessian + hessian.T) / 2


def signs_of(partition: Partition) -> Floats:
    return 1.0 - 2.0 * partition.labels


def all_forms(matrix: Floats) -> Floats:
    """sᵀMs of every balanced split, by NumPy."""
    return np.array([signs_of(split) @ matrix @ signs_of(split) for split in balanced_splits(len(matrix))])


def in_a_rectangle(curvatures: tuple[float, float], amplitudes: tuple[float, float]) -> Floats:
    """M of the four tasks of F.6, a = (±α, ±β)."""
    optima = np.array(list(product([1.0, -1.0], repeat=2))) * amplitudes
    return (optima * np.array(curvatures) ** 3) @ optima.T


S1, S2, S3 = np.array([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])


# --- gains against their definition --------------------------------------------------------------------------------


@given(st.sampled_from([(4, 2), (7, 2), (9, 3), (8, 8)]), seeds)
def test_gain_of_a_partition_is_that_of_its_branches_for_any_weights_with_sum_one(
    shape: tuple[int, int], seed: int
) -> None:
    gradients, hessian = curved_gradients(shape[0], seed)
    rng = np.random.default_rng(seed)
    partition = random_partition(*shape, rng, rng.uniform(0.1, 3, shape[0]))
    weights = rng.standard_normal(shape[1])
    weights += (1 - weights.sum()) / shape[1]
    displacements = -0.3 * np.array([gradients[list(group)].mean(axis=0) for group in partition.groups])
    matrix = task_matrix(gradients, DenseHessian(jnp.asarray(hessian)))
    measured = gain_from_gram(displacements @ hessian @ displacements.T, weights)
    scale = float(np.abs(weights).sum() ** 2 * np.abs(matrix).max())
    gain = partition_gain(matrix, partition.indicators, 0.3, weights)
    assert gain.item() == pytest.approx(measured, rel=0, abs=1e-12 * scale)


@given(st.sampled_from([(4, 2), (7, 2), (9, 3)]), seeds)
def test_gain_of_a_size_weighted_merge_is_the_between_group_objective_without_the_mean(
    shape: tuple[int, int], seed: int
) -> None:
    gradients, hessian = curved_gradients(shape[0], seed)
    rng = np.random.default_rng(seed)
    matrix = gradients @ hessian @ gradients.T
    partition = random_partition(*shape, rng, rng.uniform(0.1, 3, shape[0]))
    expected = 0.5 * 0.3**2 / shape[0] * (between_group_objective(partition, matrix) - matrix.sum() / shape[0])
    scale = float(np.abs(matrix).max())
    assert partition_gain(matrix, partition.indicators, 0.3).item() == pytest.approx(expected, rel=0, abs=1e-12 * scale)
    if shape[1] == 2:
        assert split_gain(matrix, signs_of(partition), 0.3).item() == pytest.approx(expected, rel=0, abs=1e-12 * scale)


def test_gain_of_a_balanced_split_is_its_form_over_twice_the_squared_number_of_tasks() -> None:
    matrix = 1.0 * np.arange(16).reshape(4, 4) + np.arange(16).reshape(4, 4).T
    assert split_gain(matrix, S2, 3.0).item() == pytest.approx(9 / 32 * float(S2 @ matrix @ S2), rel=1e-14)
    assert signed_form(matrix, S2).item() == S2 @ matrix @ S2


def test_an_unbalanced_split_does_not_see_the_shared_mean_although_its_raw_form_does() -> None:
    signs = np.array([1.0, -1, -1, -1])
    matrix = in_a_rectangle((2, 1), (1, 1))
    shifted = matrix + 5.0
    assert split_gain(shifted, signs, 1.0).item() == pytest.approx(split_gain(matrix, signs, 1.0).item(), rel=1e-13)
    assert signed_form(shifted, signs).item() != pytest.approx(signed_form(matrix, signs).item(), rel=1e-3)


@given(st.sampled_from([4, 8]), seeds)
def test_a_balanced_split_sees_nothing_but_the_double_centred_matrix(n_tasks: int, seed: int) -> None:
    gradients, hessian = curved_gradients(n_tasks, seed)
    matrix = gradients @ hessian @ gradients.T
    signs = signs_of(random_partition(n_tasks, 2, np.random.default_rng(seed)))
    centred = double_centred(jnp.asarray(matrix))
    assert signed_form(centred, signs).item() == pytest.approx(
        signed_form(matrix, signs).item(), rel=0, abs=1e-12 * n_tasks**2 * np.abs(matrix).max()
    )


# --- exact instances of F.6, F.7 and F.9 ---------------------------------------------------------------------------


def test_rectangle_of_f6_has_gains_four_a_half_and_none() -> None:
    matrix = in_a_rectangle((2, 1), (1, 1))
    assert [split_gain(matrix, signs, 1.0).item() for signs in (S1, S2, S3)] == [4.0, 0.5, 0.0]


def test_f6_needs_the_sharper_axis_to_carry_the_larger_gradients_and_f9_has_no_converse() -> None:
    dropped = in_a_rectangle((1, 4), (5, 1))
    assert 1 * 5 > 4 * 1
    assert [split_gain(dropped, signs, 1.0).item() for signs in (S1, S2)] == [12.5, 32.0]
    converse = in_a_rectangle((4, 1), (1, 5))
    assert 4 * 1 < 1 * 5
    assert [split_gain(converse, signs, 1.0).item() for signs in (S1, S2)] == [32.0, 12.5]


def test_f7_mean_over_the_three_splits_of_a_rectangle() -> None:
    for curvatures, amplitudes in (((2, 1), (1, 1)), ((5, 3), (2, 7))):
        terms = [h**3 * a**2 for h, a in zip(curvatures, amplitudes, strict=True)]
        assert expected_random_gain(in_a_rectangle(curvatures, amplitudes), 2, 1.0).item() == pytest.approx(
            sum(terms) / 6, rel=1e-14
        )


def test_f9_fails_with_eight_tasks() -> None:
    first, second = np.array([[7.0, 1, 1, 1, -1, -1, -1, -7], [5, -5, 5, -5, 5, -5, -5, 5]])
    curvatures = np.array([3.0, 2.0])
    optima = np.stack([first, second], axis=1)
    matrix = (optima * curvatures**3) @ optima.T
    gram_variances = curvatures**2 * (optima**2).sum(axis=0)
    assert gram_variances.tolist() == [936, 800]
    assert leading_axis(matrix)[0].item() == pytest.approx(27 * 104)
    assert signed_form(matrix, median_split(leading_axis(matrix)[1])).item() == 10_800
    assert signed_form(matrix, np.sign(second)).item() == 12_800 == all_forms(matrix).max()
    assert expected_random_form(matrix).item() == pytest.approx(35_264 / 7, rel=1e-14)


# --- F.10 ----------------------------------------------------------------------------------------------------------


@given(st.sampled_from([4, 6, 8]), seeds)
def test_mean_form_over_all_balanced_splits(n_tasks: int, seed: int) -> None:
    gradients, hessian = curved_gradients(n_tasks, seed)
    matrix = gradients @ hessian @ gradients.T
    scale = n_tasks * float(np.trace(matrix))
    mean = all_forms(matrix).mean()
    assert expected_random_form(matrix).item() == pytest.approx(mean, rel=0, abs=1e-12 * scale)
    assert expected_random_gain(matrix, 2, 0.7).item() == pytest.approx(
        0.49 / (2 * n_tasks**2) * mean, rel=0, abs=1e-12 * scale
    )


def test_mean_form_over_all_sign_vectors_is_another_one() -> None:
    matrix = COUNTEREXAMPLE @ COUNTEREXAMPLE.T
    every = [np.array(signs) @ matrix @ np.array(signs) for signs in product([1.0, -1.0], repeat=4)]
    assert np.mean(every) == np.trace(matrix) == 50
    assert expected_random_form(matrix).item() == pytest.approx(200 / 3, rel=1e-14)


@pytest.mark.parametrize("sizes", [(3, 3), (2, 2, 2), (1, 2, 3), (1, 1, 4), (1, 5)])
def test_mean_gain_over_random_groups_depends_on_their_number_and_not_on_their_sizes(sizes: tuple[int, ...]) -> None:
    gradients, hessian = curved_gradients(6, 1)
    matrix = jnp.asarray(gradients @ hessian @ gradients.T)
    labels = np.unique(list(permutations(np.repeat(range(len(sizes)), sizes).tolist())), axis=0)
    members = jnp.asarray(np.eye(len(sizes))[labels])
    mean = jax.vmap(lambda indicators: partition_gain(matrix, indicators, 2.0))(members).mean()
    assert mean.item() == pytest.approx(expected_random_gain(matrix, len(sizes), 2.0).item(), rel=1e-12)
    uniform = jnp.full(len(sizes), 1 / len(sizes))
    mean = jax.vmap(lambda indicators: partition_gain(matrix, indicators, 2.0, uniform))(members).mean()
    agrees = mean.item() == pytest.approx(expected_random_gain(matrix, len(sizes), 2.0).item(), rel=1e-3)
    assert agrees == (len(set(sizes)) == 1)


# --- F.11 ----------------------------------------------------------------------------------------------------------


@given(st.sampled_from([2, 4, 6, 8]), seeds)
def test_median_split_aligns_best_and_reaches_the_distance_to_the_median(n_tasks: int, seed: int) -> None:
    axis = np.random.default_rng(seed).standard_t(1.5, n_tasks)
    found = float(median_split(axis) @ axis)
    best = max(2 * axis[list(group)].sum() - axis.sum() for group in combinations(range(n_tasks), n_tasks // 2))
    distances = [np.abs(axis - place).sum() for place in axis]
    assert found == pytest.approx(best, rel=1e-12)
    assert found == pytest.approx(min(distances), rel=1e-12)


def pca_laws(matrix: jax.Array) -> tuple[jax.Array, ...]:
    """Form of the median split, corrected bound, paper's bound, mean form, and balance of sign(v₁)."""
    axis = leading_axis(matrix)[1]
    split = signed_form(matrix, median_split(axis))
    return split, median_bound(matrix), sign_bound(matrix), expected_random_form(matrix), jnp.sign(axis).sum()


@pytest.mark.parametrize("n_tasks", [4, 8])
def test_median_bound_always_holds_and_the_papers_holds_where_its_signs_balance(n_tasks: int) -> None:
    batch = np.stack([curved_gradients(n_tasks, seed)[0] for seed in range(1500)])
    matrices = jnp.asarray(batch @ batch.transpose(0, 2, 1))
    split, corrected, paper, mean, imbalance = map(np.asarray, jax.jit(jax.vmap(pca_laws))(matrices))
    slack = 1e-9 * split
    assert (split >= corrected - slack).all()
    assert (split - corrected < slack).sum() < len(split) / 2
    balanced = imbalance == 0
    assert balanced.sum() > 150
    assert (split >= paper - slack)[balanced].all()
    assert (split < paper - slack)[~balanced].mean() > 0.5
    # (10′) is silent or right; (10) can hold where the split it speaks of is worse than random.
    implied = corrected > mean
    assert (split >= mean - slack)[implied].all()
    assert implied.sum() > 100
    assert ((paper > mean) & (split < mean - slack)).any()


def test_ratios_of_9_and_10_are_the_bounds_over_the_mean() -> None:
    matrix = COUNTEREXAMPLE @ COUNTEREXAMPLE.T
    eigenvalue, axis = (np.asarray(part) for part in leading_axis(matrix))
    expected = 3 / 4 * eigenvalue * np.abs(axis).sum() ** 2 / np.trace(matrix)
    assert ratio_to_random(matrix, sign_bound(matrix)).item() == pytest.approx(expected, rel=1e-12)


def test_paper_condition_holds_and_pca_is_the_worst_split_of_all() -> None:
    matrix = COUNTEREXAMPLE @ COUNTEREXAMPLE.T
    assert COUNTEREXAMPLE.sum(axis=0).tolist() == [0, 0]
    assert sorted(all_forms(matrix).tolist()) == [52, 68, 80]
    assert expected_random_form(matrix).item() == pytest.approx(200 / 3, rel=1e-14)
    chosen = median_split(leading_axis(matrix)[1])
    assert abs(float(chosen @ np.array([1.0, -1, -1, 1]))) == 4
    assert signed_form(matrix, chosen).item() == 52
    assert (ratio_to_random(matrix, sign_bound(matrix)) * 4 / 3).item() == pytest.approx(1.587, abs=5e-4)
    assert (ratio_to_random(matrix, median_bound(matrix)) * 4 / 3).item() == pytest.approx(1.039, abs=5e-4)


def test_median_bound_needs_a_positive_semi_definite_matrix() -> None:
    lead, other = np.array([3.0, 1, -1, -3]) / 20**0.5, np.array([1.0, -3, 3, -1]) / 20**0.5
    matrix = np.outer(lead, lead) - 10 * np.outer(other, other)
    assert signed_form(matrix, median_split(lead)).item() == pytest.approx(64 / 20 - 8)
    assert median_bound(matrix).item() == pytest.approx(64 / 20)


# --- F.12 ----------------------------------------------------------------------------------------------------------


@given(st.sampled_from([4, 8]), seeds)
def test_in_rank_one_the_median_split_is_optimal_and_never_below_the_mean(n_tasks: int, seed: int) -> None:
    axis = np.random.default_rng(seed).standard_t(1.5, n_tasks)
    matrix = np.outer(axis, axis)
    split = signed_form(matrix, median_split(axis)).item()
    assert split == pytest.approx(all_forms(matrix).max(), rel=1e-9)
    assert ratio_to_random(matrix, split).item() >= 1 - 1e-9
    spread = axis - axis.mean()
    if np.ptp(np.sort(spread)[n_tasks // 2 - 1 : n_tasks // 2 + 1]) > 1e-6 * np.abs(axis).max():
        assert median_bound(matrix).item() == pytest.approx(split, rel=1e-6)


def test_equal_magnitudes_give_the_largest_ratio_and_a_spike_the_smallest() -> None:
    equal = np.repeat([1.0, -1.0], 4)
    assert ratio_to_random(np.outer(equal, equal), signed_form(np.outer(equal, equal), equal)).item() == pytest.approx(
        7
    )
    spike = np.array([7.0] + [-1.0] * 7)
    matrix = np.outer(spike, spike)
    assert np.ptp(all_forms(matrix)) == 0
    assert ratio_to_random(matrix, median_bound(matrix)).item() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("n_tasks", [4, 8])
def test_isotropic_tasks_make_all_splits_equal_and_the_papers_condition_false(n_tasks: int) -> None:
    matrix = 3.0 * (np.eye(n_tasks) - 1 / n_tasks)
    assert all_forms(matrix) == pytest.approx(3.0 * n_tasks, rel=1e-13)
    assert expected_random_form(matrix).item() == pytest.approx(3.0 * n_tasks, rel=1e-13)
    assert ratio_to_random(matrix, sign_bound(matrix)).item() <= 1 + 1e-12
    # With fewer dimensions than tasks minus one, no centred gradients have this matrix, and splits differ.
    flat = np.linalg.qr(np.random.default_rng(0).standard_normal((n_tasks, n_tasks - 2))).Q
    assert np.ptp(all_forms(flat @ flat.T)) > 0.1


# --- what is refused -----------------------------------------------------------------------------------------------

EYE = np.eye(4)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: signed_form(EYE[:3], S1), r"shape \(3, 4\)"),
        (lambda: signed_form(EYE + np.triu(EYE + 1), S1), "not symmetric"),
        (lambda: signed_form(EYE * np.nan, S1), "non-finite"),
        (lambda: signed_form(EYE, S1[:2]), r"signs have shape \(2,\)"),
        (lambda: signed_form(EYE, S1 * [1, 1, 0, 1]), r"sign of task 2 is -?0"),
        (lambda: split_gain(EYE, np.ones(4), 1.0), "all signs are equal"),
        (lambda: partition_gain(EYE, EYE[:2], 1.0), "one row for each of 4 tasks"),
        (lambda: partition_gain(EYE, EYE * 2, 1.0), "zero or one"),
        (lambda: partition_gain(EYE, np.c_[EYE[:, :1], 1 - EYE[:, :1], 0 * EYE[:, :1]], 1.0), "group 2 is empty"),
        (lambda: partition_gain(EYE, EYE, 1.0, [0.5, 0.5]), "one for each of 4 groups"),
        (lambda: partition_gain(EYE, EYE, 1.0, [0.5, 0.5, 0.5, 0.5]), "expected sum 1"),
        (lambda: expected_random_form(np.eye(5)), "5 tasks have no balanced split"),
        (lambda: median_split(np.arange(3.0)), "3 tasks have no balanced split"),
        (lambda: median_bound(np.eye(5)), "5 tasks have no balanced split"),
        (lambda: expected_random_gain(EYE, 5, 1.0), "4 tasks cannot fill 5 groups"),
        (lambda: task_matrix(np.ones((3, 2)), DenseHessian(jnp.eye(3))), r"shape \(3, 2\)"),
        (lambda: task_matrix(np.ones((2, 2)), DenseHessian(jnp.stack([jnp.eye(2)] * 2))), "one Hessian for all tasks"),
    ],
)
def test_what_is_no_matrix_split_or_merge_is_refused(call, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        call()
