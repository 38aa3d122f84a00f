"""Partitions into K equal groups: each once, and their values against `partition.between_group_objective`."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merit_theory.group_search import between_group_forms, count_equal_partitions, equal_partitions
from merit_theory.partition import Partition, balanced_splits, between_group_objective
from merit_theory.split_gain import expected_random_gain, signed_form

SHAPES = [(6, 3), (8, 2), (8, 4), (9, 3), (4, 4), (3, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_partition_into_equal_groups_is_listed_once(shape: tuple[int, int]) -> None:
    listed = [Partition.from_labels(labels).canonical() for labels in equal_partitions(*shape)]
    assert len(set(listed)) == len(listed) == count_equal_partitions(*shape)
    assert all(len(group) == shape[0] // shape[1] for partition in listed for group in partition.groups)


def test_two_groups_are_the_balanced_splits() -> None:
    assert [Partition.from_labels(row) for row in equal_partitions(8, 2)] == list(balanced_splits(8))


@settings(max_examples=40)
@given(st.sampled_from(SHAPES[:4]), st.integers(0, 2**32 - 1))
def test_forms_are_the_centred_between_group_objective_and_their_mean_the_expected_gain(
    shape: tuple[int, int], seed: int
) -> None:
    n_tasks, n_groups = shape
    rng = np.random.default_rng(seed)
    gradients = rng.standard_t(2, (n_tasks, 4)) + 3 * rng.standard_normal(4)
    matrix = gradients @ gradients.T
    labels = equal_partitions(*shape)
    forms = np.asarray(between_group_forms(matrix, labels, n_groups))
    rounding = 1e-12 * n_tasks * np.abs(matrix).max()
    for index in (0, len(labels) // 2, len(labels) - 1):
        partition = Partition.from_labels(labels[index])
        expected = between_group_objective(partition, matrix) - matrix.sum() / n_tasks
        assert forms[index] == pytest.approx(expected, rel=0, abs=rounding)
    assert 0.25 / (2 * n_tasks) * forms.mean() == pytest.approx(
        expected_random_gain(matrix, n_groups, 0.5).item(), rel=0, abs=rounding
    )


def test_two_equal_groups_have_the_signed_form_over_the_number_of_tasks() -> None:
    matrix = np.diag([4.0, 3.0, 2.0, 1.0]) + 1.0
    form = between_group_forms(matrix, [[0, 1, 1, 0]], 2)[0].item()
    assert form == pytest.approx(signed_form(matrix, jnp.array([1.0, -1, -1, 1])).item() / 4, rel=1e-14)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: equal_partitions(7, 2), "7 tasks do not divide into 2 groups"),
        (lambda: equal_partitions(2, 3), "2 tasks do not divide into 3 groups"),
        (lambda: equal_partitions(18, 3), "2858856 partitions .* too many to list"),
        (lambda: between_group_forms(np.eye(4), [[0, 1, 0]], 2), "one column for each of 4 tasks"),
    ],
)
def test_what_cannot_be_listed_is_refused(call, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        call()
