"""Large matrices in single precision go through their Gram matrix; double precision says what they should give."""

from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from training.merge.singular_values import LEAST_FOR_GRAM, polar_factor, singular_factors

SHAPES = [(LEAST_FOR_GRAM, 300), (300, LEAST_FOR_GRAM), (150, 150), (4500, LEAST_FOR_GRAM), (100, 200)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1, "blas"):  # as in a merge
        yield


def matrix(shape: tuple[int, int], smallest: float) -> np.ndarray:
    """Float32, with singular values from one down to ``smallest``."""
    rng = np.random.default_rng(0)
    left, _, right = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    return ((left * np.geomspace(1, smallest, min(shape))) @ right).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_factors_are_as_accurate_as_those_of_a_decomposition_in_single_precision(shape: tuple[int, int]) -> None:
    given = matrix(shape, 1e-4)
    left, values, right = singular_factors(given)
    assert left.dtype == values.dtype == right.dtype == np.float32
    exact = np.linalg.svd(given.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(values, exact[1], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose((left * values) @ right, given, atol=2e-7)
    for frame in (left.T @ left, right @ right.T):
        np.testing.assert_allclose(frame, np.eye(min(shape)), atol=5e-6)
    np.testing.assert_allclose(polar_factor(given), exact[0] @ exact[2], atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_directions_that_are_not_there_are_left_out(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    given = (rng.integers(-3, 4, (shape[0], 5)) @ rng.integers(-3, 4, (5, shape[1]))).astype(np.float32)
    left, values, right = singular_factors(given)
    assert (left.shape, right.shape) == ((shape[0], 5), (5, shape[1]))
    np.testing.assert_allclose((left * values) @ right, given, atol=1e-4)
    assert not singular_factors(0 * given)[1].size


@pytest.mark.parametrize("shape", SHAPES)
def test_asked_for_fewer_it_gives_the_strongest(shape: tuple[int, int]) -> None:
    given = matrix(shape, 1e-2)
    left, values, right = singular_factors(given)
    for some, strongest in zip(singular_factors(given, 7), (left[:, :7], values[:7], right[:7]), strict=True):
        np.testing.assert_allclose(some, strongest, atol=1e-6)
