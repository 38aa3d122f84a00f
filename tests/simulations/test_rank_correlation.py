"""Rank correlation against SciPy's, and what it refuses."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from simulations.rank_correlation import rank_correlation


def test_it_is_spearman_with_and_without_ties() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 3, 4, 9))
    second[0] = rng.integers(0, 3, (4, 9))
    expected = [
        [spearmanr(one, other).statistic for one, other in zip(*rows, strict=True)]
        for rows in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(rank_correlation(first, second), expected, rtol=1e-12)


def test_it_sees_order_and_nothing_else() -> None:
    values = np.random.default_rng(1).standard_normal(20)
    assert rank_correlation(values, np.exp(values)) == pytest.approx(1)
    assert rank_correlation(values, values**2) < 0.9


def test_constant_values_and_unequal_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="need values that differ"):
        rank_correlation([1.0, 1.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="expected the same"):
        rank_correlation([1.0, 2.0], [0.0, 1.0, 2.0])
