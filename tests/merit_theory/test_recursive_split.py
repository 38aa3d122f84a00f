"""F.13: what refinement, budget and design do to the gain of recursive splits."""

from fractions import Fraction
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merit_theory.conflict import principal_axes
from merit_theory.group_search import between_group_forms, equal_partitions
from merit_theory.partition import Partition, pca_partition
from merit_theory.recursive_split import (
    expected_random_level_gains,
    hypercube_task_matrix,
    level_gains,
    recursive_median_order,
)
from merit_theory.split_gain import partition_gain

seeds = st.integers(0, 2**32 - 1)

# Compiled once per shape: hundreds of examples of a few operations each spend their time in dispatch otherwise.
gains_of = jax.jit(level_gains, static_argnums=(2, 4))
order_of = jax.jit(recursive_median_order)


def gradients(n_tasks: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_t(2, (n_tasks, 12)) + 2 * rng.standard_normal(12)


@given(st.sampled_from([(8, 3), (12, 2), (6, 1)]), seeds)
def test_median_recursion_is_the_pca_partition_with_cuts_by_count(shape: tuple[int, int], seed: int) -> None:
    n_tasks, levels = shape
    rows = gradients(n_tasks, seed)
    matrix = rows @ rows.T
    order = order_of(principal_axes(matrix, levels, centre="double").coordinates)
    groups = np.asarray(order).reshape(2**levels, -1).tolist()
    assert Partition(tuple(map(tuple, groups))).matches(pca_partition(matrix, levels, centre="double", cut="count"))


def test_gains_of_levels_are_those_of_their_partitions() -> None:
    rows = gradients(12, 4)
    order = np.random.default_rng(4).permutation(12)
    found = gains_of(rows @ rows.T, order, 2, 0.6, "steps")
    for level in (1, 2):
        partition = Partition(tuple(map(tuple, order.reshape(2**level, -1).tolist())))
        expected = partition_gain(rows @ rows.T, partition.indicators, 0.6)
        assert found[level - 1].item() == pytest.approx(expected.item(), rel=1e-12)


def test_at_equal_steps_no_refinement_of_any_order_lowers_the_gain() -> None:
    rng = np.random.default_rng(0)
    rows = np.stack([gradients(16, seed) for seed in range(1000)])
    orders = jnp.asarray(np.stack([rng.permutation(16) for _ in range(1000)]))
    gains = jax.jit(jax.vmap(lambda matrix, order: gains_of(matrix, order, 3, 1.0, "steps")))(
        jnp.asarray(rows @ rows.transpose(0, 2, 1)), orders
    )
    assert (jnp.diff(gains, axis=1) >= -1e-12 * gains[:, -1:]).all()


def test_more_groups_can_have_less_gain_if_they_do_not_refine_or_curvature_is_negative() -> None:
    matrix = hypercube_task_matrix([2.0, 1.0], [2.0, 1.0])
    other = jnp.kron(matrix, jnp.ones((2, 2)))
    two_groups = gains_of(other, np.arange(8), 1, 1.0, "steps")[0]
    crossed = gains_of(other, np.array([0, 4, 1, 5, 2, 6, 3, 7]), 2, 1.0, "steps")[1]
    assert crossed < two_groups
    falling = gains_of(hypercube_task_matrix([2.0, -1.0], [1.0, 1.0]), np.arange(4), 2, 1.0, "steps")
    assert falling.tolist() == [4.0, 3.5]


def test_random_levels_grow_as_groups_less_one_and_shrink_at_equal_tokens() -> None:
    rows = gradients(8, 3)
    matrix = rows @ rows.T
    at_steps = np.asarray(expected_random_level_gains(matrix, 3, 0.5, "steps"))
    for level, n_groups in enumerate((2, 4, 8)):
        forms = between_group_forms(matrix, equal_partitions(8, n_groups), n_groups)
        assert at_steps[level] == pytest.approx(0.25 / 16 * float(forms.mean()), rel=1e-12)
    assert at_steps / at_steps[0] == pytest.approx([1, 3, 7], rel=1e-12)
    at_tokens = np.asarray(expected_random_level_gains(matrix, 3, 0.5, "tokens"))
    assert at_tokens / at_steps[2] * 7 == pytest.approx([0.25, 0.1875, 0.109375], rel=1e-12)


def test_mean_over_all_orders_is_the_expectation_at_either_budget() -> None:
    rows = gradients(4, 9)
    matrix = jnp.asarray(rows @ rows.T)
    orders = jnp.array(list(permutations(range(4))))
    for budget in ("steps", "tokens"):
        gains = jax.vmap(lambda order, budget=budget: gains_of(matrix, order, 2, 3.0, budget))(orders)
        expected = expected_random_level_gains(matrix, 2, 3.0, budget)
        assert gains.mean(axis=0).tolist() == pytest.approx(expected.tolist(), rel=1e-12)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=3, max_size=3),
    st.permutations(range(3)),
)
def test_hypercube_adds_axis_by_axis_and_the_budget_divides_by_four(
    axes: list[tuple[int, int]], turn: list[int]
) -> None:
    contributions = [h**3 * a**2 for h, a in axes]
    matrix = hypercube_task_matrix([1.0 * h for h, _ in axes], [1.0 * a for _, a in axes])
    # Cutting along the axes in another turn: bits of the task number in that order.
    order = np.arange(8).reshape(2, 2, 2).transpose(turn).reshape(8)
    partial = np.cumsum([contributions[axis] for axis in turn]).tolist()
    steps = gains_of(matrix, order, 3, 1.0, "steps").tolist()
    assert steps == pytest.approx([total / 2 for total in partial], rel=1e-12)
    tokens = gains_of(matrix, order, 3, 8.0, "tokens").tolist()
    for level in (0, 1):
        ratio = Fraction(partial[level + 1], 4 * partial[level])
        assert tokens[level + 1] / tokens[level] == pytest.approx(float(ratio), rel=1e-12)
        if sorted(contributions, reverse=True) == [contributions[axis] for axis in turn]:
            assert ratio <= Fraction(level + 2, 4 * (level + 1)) <= Fraction(1, 2)


def test_instance_of_the_hypercube_rises_with_the_levels_at_equal_steps_and_falls_at_equal_tokens() -> None:
    matrix = hypercube_task_matrix([3.0, 2.0, 1.0], [1.0, 1.0, 1.0])
    assert (2 * gains_of(matrix, np.arange(8), 3, 1.0, "steps")).tolist() == [27, 35, 36]
    assert gains_of(matrix, np.arange(8), 3, 8.0, "tokens").tolist() == [216, 70, 18]


def test_gain_at_equal_tokens_rises_where_a_later_axis_adds_more_than_threefold() -> None:
    matrix = hypercube_task_matrix([1.0, 1.0], [1.0, 2.0])
    assert gains_of(matrix, np.arange(4), 2, 4.0, "tokens").tolist() == [2.0, 2.5]


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: recursive_median_order(np.ones((6, 2))), "6 tasks do not halve 2 times"),
        (lambda: recursive_median_order(np.ones(6)), r"shape \(6,\)"),
        (lambda: recursive_median_order([[np.nan], [1.0]]), "non-finite"),
        (lambda: level_gains(np.eye(4), range(4), 0, 1.0, "steps"), "at least one level"),
        (lambda: level_gains(np.eye(4), [0, 1, 2, 2], 1, 1.0, "steps"), "each of the tasks 0 … 3 once"),
        (lambda: level_gains(np.eye(4), range(4), 1, 1.0, "epochs"), "budget is 'epochs'"),
        (lambda: expected_random_level_gains(np.eye(6), 2, 1.0, "steps"), "6 tasks do not halve 2 times"),
        (lambda: hypercube_task_matrix([1.0, 2.0], [1.0]), r"amplitudes \(1,\)"),
    ],
)
def test_what_does_not_halve_is_refused(call, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        call()
