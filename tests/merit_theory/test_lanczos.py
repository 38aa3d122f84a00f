"""Lanczos against the full eigendecomposition, also where the Krylov space ends early."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from merit_theory.lanczos import lanczos_extremes


@pytest.mark.parametrize("sign", [1, -1])
def test_as_many_steps_as_dimensions_are_exact(sign: int) -> None:
    rng = np.random.default_rng(3)
    factor = rng.standard_normal((50, 12, 12))
    matrices = jnp.asarray(sign * np.einsum("nij,nkj->nik", factor, factor))
    found = jax.vmap(lambda matrix: lanczos_extremes(lambda x: matrix @ x, jnp.ones(12), 99))(matrices)
    exact = np.linalg.eigvalsh(np.asarray(matrices))
    scale = np.abs(exact).max(axis=1)
    assert (np.abs(found.smallest - exact[:, 0]) <= 1e-12 * scale).all()
    assert (np.abs(found.largest - exact[:, -1]) <= 1e-12 * scale).all()


@pytest.mark.parametrize("values", [[5.0, 5, 5, 5, 5, 5], [-3.0, -3, -2, -2, -2, -2], [1.0, 1, 1, 7, 7, 9]])
def test_few_distinct_eigenvalues_end_the_space_early_without_a_spurious_zero(values: list[float]) -> None:
    spectrum = jnp.array(values)
    found = lanczos_extremes(lambda x: spectrum * x, jnp.arange(1.0, 7.0), 6)
    assert [found.smallest, found.largest] == pytest.approx([min(values), max(values)], rel=1e-13)


def test_an_eigenvalue_lies_within_the_error_when_steps_are_few() -> None:
    spectrum = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, 100))
    errors = []
    for steps in (5, 60):
        found = lanczos_extremes(lambda x: spectrum * x, jnp.ones(100), steps)
        for value in (found.smallest, found.largest):
            assert jnp.abs(spectrum - value).min() <= found.error + 1e-14
        errors.append(found.error.item())
    assert errors[0] > 100 * errors[1]


def test_a_start_without_a_component_misses_the_eigenvalue() -> None:
    spectrum = jnp.array([1.0, 2.0, 10.0])
    assert lanczos_extremes(lambda x: spectrum * x, jnp.array([1.0, 1.0, 0.0]), 3).largest == pytest.approx(2)
