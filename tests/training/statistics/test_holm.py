from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.statistics.holm import holm


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_it_is_closed_testing_with_bonferronis_test_of_every_intersection(p_values: list[float]) -> None:
    everyone = range(len(p_values))
    expected = [
        max(
            min(1.0, size * min(p_values[member] for member in family))
            for size in range(1, len(p_values) + 1)
            for family in combinations(everyone, size)
            if own in family
        )
        for own in everyone
    ]
    assert holm(p_values).tolist() == pytest.approx(expected)


def test_a_family_of_one_is_not_corrected_and_an_empty_one_is_empty() -> None:
    assert holm([0.04]).tolist() == [0.04]
    assert holm(np.array([])).tolist() == []
