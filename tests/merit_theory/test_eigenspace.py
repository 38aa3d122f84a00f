"""F.4: the rotation bound on random and adversarial norms, its vacuity, and what centring does to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from merit_theory.conflict import cosine_from_gram, subspace_distance
from merit_theory.eigenspace import (
    cosine_of_gram,
    largest_sine,
    leading_eigenspace,
    norm_spread,
    relative_misfit,
    rotation_bound,
    vacuous_spread,
)
from merit_theory.split_gain import double_centred

Floats = NDArray[np.float64]
CENTRINGS = ("none", "double")


def grams(count: int, n_tasks: int, shared: float, seed: int) -> jax.Array:
    """Gram matrices of gradients with norms that spread a little and a mean of size ``shared``; [count, n, n]."""
    rng = np.random.default_rng(seed)
    loadings = 10 ** rng.uniform(-1.5, 0.5, (count, 1, n_tasks))
    rows = rng.standard_normal((count, n_tasks, n_tasks)) * loadings + shared * rng.standard_normal((count, 1, n_tasks))
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    rows *= np.exp(rng.uniform(0, 0.3, (count, 1, 1)) * rng.uniform(-1, 1, (count, n_tasks, 1)))
    return jnp.asarray(rows @ rows.transpose(0, 2, 1))


def rotation(gram: jax.Array, n_axes: int, centre: str) -> jax.Array:
    cosine = cosine_of_gram(gram)
    return largest_sine(leading_eigenspace(gram, n_axes, centre), leading_eigenspace(cosine, n_axes, centre))


@pytest.mark.parametrize("centre", CENTRINGS)
@pytest.mark.parametrize(("n_tasks", "n_axes", "shared"), [(3, 1, 0.0), (6, 2, 0.3)])
def test_rotation_never_exceeds_its_bound(n_tasks: int, n_axes: int, shared: float, centre: str) -> None:
    batch = grams(4000, n_tasks, shared, n_tasks)
    bounds, sines = jax.jit(
        jax.vmap(lambda gram: (rotation_bound(gram, n_axes, centre), rotation(gram, n_axes, centre)))
    )(batch)
    assert (sines <= bounds + 1e-9).all()
    assert (bounds < 1).sum() > 100
    # With the constant halved it would be violated where norms are adversarial, see below.
    assert (sines > 0.01 * bounds).any()


@pytest.mark.parametrize(("larger", "use"), [(2.0, 0.341), (1.01, 0.698)])
def test_two_almost_orthogonal_gradients_turn_the_axis_by_45_degrees(larger: float, use: float) -> None:
    """The worst case known: nearly equal norms use 70 % of the bound, at the edge of saying something."""
    gram = np.array([[larger**2, 1e-9], [1e-9, 1.0]])
    sine = rotation(jnp.asarray(gram), 1, "none").item()
    assert sine == pytest.approx(0.5**0.5, abs=1e-6)
    assert sine / rotation_bound(gram, 1, "none").item() == pytest.approx(use, abs=5e-3)


def test_equal_norms_leave_the_axes_where_they_are() -> None:
    rows = np.random.default_rng(0).standard_normal((6, 4))
    rows *= 3 / np.linalg.norm(rows, axis=1, keepdims=True)
    for centre in CENTRINGS:
        assert rotation_bound(rows @ rows.T, 2, centre).item() == pytest.approx(0, abs=1e-12)
        assert rotation(jnp.asarray(rows @ rows.T), 2, centre).item() == pytest.approx(0, abs=1e-9)


def test_centred_bound_needs_the_size_of_the_uncentred_matrix() -> None:
    """A mean gradient shared by all tasks turns the centred axes; λ₁ of the centred matrix does not know of it."""
    rng = np.random.default_rng(1)
    mean = np.array([100.0, 0, 0, 0, 0])
    norms = np.linspace(0.99, 1.01, 8)[:, None]
    rows = norms * (mean + rng.standard_normal((8, 5)) * [0, 1, 0.2, 0.2, 0.2])
    gram = jnp.asarray(rows @ rows.T)
    centred = jnp.linalg.eigvalsh(double_centred(gram))
    misfit = relative_misfit(norm_spread(gram))
    naive = 2 * (2 * misfit + misfit**2) * centred[-1] / (centred[-1] - centred[-2])
    sine = rotation(gram, 1, "double")
    assert rotation_bound(gram, 1, "double") > 1
    assert sine > naive


def test_bound_says_nothing_at_the_norm_spreads_of_the_paper() -> None:
    best = [2 * (2 * e + e**2) for e in (relative_misfit(spread).item() for spread in (7.12, 3.12, 2.05))]
    assert best == pytest.approx([4.15, 2.59, 1.61], abs=5e-3)


@given(st.floats(1, 50))
def test_at_the_vacuous_spread_the_bound_is_one(condition: float) -> None:
    misfit = relative_misfit(vacuous_spread(condition)).item()
    assert 2 * (2 * misfit + misfit**2) * condition == pytest.approx(1, rel=1e-12)


def test_best_vacuous_spread_is_a_norm_ratio_of_one_point_five_eight() -> None:
    assert vacuous_spread().item() == pytest.approx(1.5798, abs=1e-4)
    assert vacuous_spread(4.0) < vacuous_spread(2.0) < vacuous_spread()


@given(st.sampled_from([(4, 1), (6, 3)]), st.integers(0, 2**32 - 1))
def test_jax_and_numpy_agree_on_cosines_and_angles(shape: tuple[int, int], seed: int) -> None:
    n_tasks, n_axes = shape
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n_tasks, n_tasks))
    np.testing.assert_allclose(cosine_of_gram(rows @ rows.T), cosine_from_gram(rows @ rows.T), atol=1e-14)
    bases = [np.linalg.qr(rng.standard_normal((n_tasks, n_axes))).Q for _ in range(2)]
    assert largest_sine(*map(jnp.asarray, bases)).item() == pytest.approx(subspace_distance(*bases), abs=1e-12)


def test_without_an_eigengap_there_is_no_bound() -> None:
    assert rotation_bound(np.eye(3), 1, "none").item() == np.inf


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: rotation_bound(np.eye(3), 3, "none"), "3 axes of 3 tasks"),
        (lambda: rotation_bound(np.eye(3), 1, "rows"), "centre is 'rows'"),
        (lambda: rotation_bound(np.diag([1.0, 0.0]), 1, "none"), "task 1 has a zero gradient"),
        (lambda: norm_spread([[1.0, 2.0], [0.0, 1.0]]), "not symmetric"),
        (lambda: relative_misfit(0.5), "norm spread is 0.5"),
        (lambda: vacuous_spread(0.9), "condition is 0.9"),
        (lambda: leading_eigenspace(np.eye(2), 3, "none"), "3 axes of 2 tasks"),
        (lambda: largest_sine(jnp.eye(3), jnp.eye(2)), r"shapes \(3, 3\) and \(2, 2\)"),
    ],
)
def test_what_has_no_rotation_is_refused(call, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        call()
