"""Theorem 3.1/F.1 in its equal forms, contraction (E2/E11), F.2 with its constants; hypotheses dropped one by one."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from merit_theory.gain_from_gram import gain_from_gram
from merit_theory.hessian import DiagonalHessian, LowRankHessian
from merit_theory.merging import (
    contraction,
    crude_error_at_reference,
    error_at_merge,
    error_at_reference,
    gain_between_pairs,
    gain_by_definition,
    gain_by_eigendirection,
    gain_upper_bound,
    merged_displacement,
    merging_gain,
)

BASINS = 400
SHAPES = [(1, 2), (2, 3), (8, 8)]


def basins(dimension: int, branches: int, *, signed: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Hessians [n, d, d], displacements [n, K, d], weights [n, K]; spectra over six decades, with zeros."""
    rng = np.random.default_rng(dimension)
    signs = rng.choice([-1, 0, 1] if signed else [0, 1], (BASINS, dimension))
    eigenvalues = 10 ** rng.uniform(-3, 3, (BASINS, dimension)) * signs
    basis = np.linalg.qr(rng.standard_normal((BASINS, dimension, dimension))).Q
    hessians = np.einsum("nij,nj,nkj->nik", basis, eigenvalues, basis)
    weights = rng.dirichlet(np.ones(branches), BASINS)
    if signed:
        weights += rng.standard_normal((BASINS, branches))
        weights -= (weights.sum(axis=1, keepdims=True) - 1) / branches
    displacements = rng.standard_normal((BASINS, branches, dimension))
    symmetric = (hessians + np.swapaxes(hessians, 1, 2)) / 2
    return jnp.asarray(symmetric), jnp.asarray(displacements), jnp.asarray(weights)


def scale_of(hessian: jax.Array, displacements: jax.Array, weights: jax.Array) -> jax.Array:
    """Of the terms that cancel."""
    return 1e-300 + jnp.abs(weights).sum() ** 2 * jnp.abs(hessian).max() * (displacements**2).sum()


def definition_with_slope(hessian: jax.Array, displacements: jax.Array, weights: jax.Array) -> jax.Array:
    slope = jnp.arange(1.0, len(hessian) + 1) * jnp.abs(hessian).max()
    return gain_by_definition(lambda x: 0.7 * slope[0] + slope @ x + 0.5 * x @ hessian @ x, displacements, weights)


def summed_over_eigendirections(hessian: jax.Array, displacements: jax.Array, weights: jax.Array) -> jax.Array:
    return gain_by_eigendirection(hessian, displacements, weights).sum()


@pytest.mark.parametrize("form", [definition_with_slope, gain_between_pairs, summed_over_eigendirections])
@pytest.mark.parametrize(("dimension", "branches"), SHAPES)
def test_all_forms_of_the_gain_agree_for_any_symmetric_hessian_and_any_weights(
    form: Callable[..., jax.Array], dimension: int, branches: int
) -> None:
    instances = basins(dimension, branches, signed=True)
    difference = jax.jit(jax.vmap(form))(*instances) - jax.jit(jax.vmap(merging_gain))(*instances)
    assert (jnp.abs(difference) <= 2e-12 * jax.vmap(scale_of)(*instances)).all()


@pytest.mark.parametrize(("dimension", "branches"), SHAPES)
def test_the_gain_is_the_one_measured_from_the_matrix_of_products(dimension: int, branches: int) -> None:
    instances = basins(dimension, branches, signed=True)
    gains = jax.jit(jax.vmap(merging_gain))(*instances)
    for hessian, moved, weights, gain in zip(*(np.asarray(part)[:50] for part in (*instances, gains)), strict=True):
        scale = scale_of(hessian, moved, weights).item()
        assert gain == pytest.approx(gain_from_gram(moved @ hessian @ moved.T, weights), abs=1e-12 * scale)


@pytest.mark.parametrize(("dimension", "branches"), SHAPES)
def test_the_gain_lies_between_zero_and_its_bound_in_a_convex_basin(dimension: int, branches: int) -> None:
    instances = basins(dimension, branches, signed=False)
    gain, bound = (jax.jit(jax.vmap(form))(*instances) for form in (merging_gain, gain_upper_bound))
    scale = jax.vmap(scale_of)(*instances)
    assert (gain >= -1e-12 * scale).all()
    assert (gain <= bound + 1e-12 * scale).all()


def test_the_gain_leaves_these_limits_for_a_negative_weight_or_curvature() -> None:
    saddle, weights = jnp.diag(jnp.array([1.0, -1.0])), jnp.array([0.5, 0.5])
    assert merging_gain(saddle, jnp.array([[0.0, 1.0], [0.0, -1.0]]), weights) == -0.5
    hessian, moved, signed = jnp.diag(jnp.array([4.0, 1.0])), jnp.array([[0.0, 1], [0, 2], [0, 1]]), [1.0, -1.0, 1.0]
    assert merging_gain(hessian, moved, jnp.array(signed)) > gain_upper_bound(hessian, moved, jnp.array(signed))


def test_the_bound_is_reached_by_dispersion_in_the_top_eigenspace_alone() -> None:
    hessian, weights = DiagonalHessian(np.array([4.0, 4.0, 1.0])), jnp.array([0.2, 0.8])
    top = jnp.array([[1.0, 2.0, 5.0], [0.0, -1.0, 5.0]])
    assert merging_gain(hessian, top, weights) == pytest.approx(gain_upper_bound(hessian, top, weights).item())
    mixed = top.at[0, 2].set(6.0)
    assert merging_gain(hessian, mixed, weights) < 0.99 * gain_upper_bound(hessian, mixed, weights)


def test_more_dispersion_elsewhere_beats_less_on_top() -> None:
    # "Maximised when dispersion lies on the top eigendirections" is a statement at fixed dispersion.
    hessian, weights = jnp.diag(jnp.array([4.0, 1.0])), jnp.array([0.5, 0.5])
    top, below = jnp.array([[1.0, 0.0], [-1.0, 0.0]]), jnp.array([[0.0, 3.0], [0.0, -3.0]])
    assert merging_gain(hessian, below, weights) > merging_gain(hessian, top, weights)


def test_the_gain_is_zero_if_and_only_if_differences_lie_in_the_null_space() -> None:
    hessian, weights = jnp.diag(jnp.array([3.0, 0.0])), jnp.array([0.3, 0.7, 0.0])
    common = jnp.array([[5.0, 1.0], [5.0, -2.0], [9.0, 9.0]])  # not in the null space, and the third weighs nothing
    assert merging_gain(hessian, common, weights) == 0
    assert merging_gain(hessian, common.at[0, 0].add(1e-3), weights) > 1e-8


def test_the_three_branch_instance_is_exact() -> None:
    hessian, weights = jnp.array([[3.0, 1.0], [1.0, 2.0]]), jnp.array([1 / 2, 1 / 3, 1 / 6])
    moved = jnp.array([[1.0, 2.0], [-1.0, 1.0], [0.0, -3.0]])
    assert merging_gain(hessian, moved, weights) == pytest.approx(39 / 8, rel=1e-14)
    merged = merged_displacement(moved, weights)
    assert 0.5 * merged @ hessian @ merged == pytest.approx(7 / 8, rel=1e-14)
    assert [length.item() for length in contraction(moved, weights)] == pytest.approx([13 / 18, 14 / 3, 71 / 18])


@pytest.mark.parametrize(("dimension", "branches"), SHAPES)
def test_contraction_is_an_identity_for_all_weights_of_sum_one(dimension: int, branches: int) -> None:
    _, moved, weights = basins(dimension, branches, signed=True)
    lengths = jax.jit(jax.vmap(contraction))(moved, weights)
    scale = jnp.abs(weights).sum(axis=1) ** 2 * (moved**2).sum(axis=(1, 2))
    assert (jnp.abs(lengths.merged - (lengths.mean_branch - lengths.dispersion)) <= 1e-13 * scale).all()


def test_merging_lengthens_the_way_beyond_the_branches_with_a_negative_weight() -> None:
    lengths = contraction(jnp.array([[1.0], [0.0]]), jnp.array([2.0, -1.0]))
    assert lengths.merged == 4
    assert lengths.mean_branch == 2


def test_a_merge_can_be_worse_than_its_best_branch() -> None:
    # The gain compares with the mean of the branches.
    moved, weights = jnp.array([[0.0], [2.0]]), jnp.array([0.5, 0.5])
    assert 0.5 * merged_displacement(moved, weights)[0] ** 2 == 0.5 > 0.5 * moved[0, 0] ** 2


def test_the_gain_works_with_hundred_thousand_parameters() -> None:
    rng = np.random.default_rng(0)
    hessian = LowRankHessian(rng.uniform(size=100_000), rng.standard_normal((100_000, 2)) / 300, np.array([5.0, 2.0]))
    moved, weights = jnp.asarray(rng.standard_normal((3, 100_000))), jnp.array([0.2, 0.3, 0.5])
    gain = merging_gain(hessian, moved, weights)
    assert gain == pytest.approx(gain_between_pairs(hessian, moved, weights).item(), rel=1e-12)
    assert 0 < gain < gain_upper_bound(hessian, moved, weights)


def test_the_gain_has_a_gradient_with_respect_to_hessian_displacements_and_weights() -> None:
    hessian, moved, weights = (part[0] for part in basins(2, 3, signed=False))
    pull = jax.grad(merging_gain, argnums=(0, 1, 2))(hessian, moved, weights)
    centred = moved - (weights @ moved)[None, :]
    np.testing.assert_allclose(pull[0], 0.5 * jnp.einsum("k,ki,kj->ij", weights, centred, centred), atol=1e-12)
    np.testing.assert_allclose(pull[1], weights[:, None] * (centred @ hessian), rtol=1e-9, atol=1e-9)


# F.2 on cubics x ↦ bᵀx + ½xᵀHx + Σ_m ρ_m/6 (c_mᵀx)³, whose Hessian is Lipschitz with Σ|ρ_m|, plus a like mismatch.


def cubics(dimension: int, branches: int) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng(7 + dimension)
    hessians, moved, _ = basins(dimension, branches, signed=False)
    directions = rng.standard_normal((2, BASINS, 3, dimension))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    # Few alternating, very unequal weights come close to the bounds.
    weights = rng.dirichlet(np.full(branches, 0.3), BASINS)
    mismatch = rng.standard_normal((BASINS, dimension, dimension))
    parts = (
        hessians / 1e3,
        mismatch + np.swapaxes(mismatch, 1, 2),
        rng.standard_normal((BASINS, dimension)) * 10,
        directions[0],
        directions[1],
        rng.standard_normal((BASINS, 3)) * 10 ** rng.uniform(-2, 2, (BASINS, 1)),
        rng.standard_normal((BASINS, 3)),
        moved,
        weights,
    )
    return tuple(jnp.asarray(part) for part in parts)


def cubic(x: jax.Array, hessian: jax.Array, slope: jax.Array, directions: jax.Array, sizes: jax.Array) -> jax.Array:
    return slope @ x + 0.5 * x @ hessian @ x + sizes @ (directions @ x) ** 3 / 6


def slacks(
    hessian: jax.Array,
    mismatch: jax.Array,
    slope: jax.Array,
    directions: jax.Array,
    other_directions: jax.Array,
    sizes: jax.Array,
    other_sizes: jax.Array,
    moved: jax.Array,
    weights: jax.Array,
) -> dict[str, jax.Array]:
    """Bound less error, relative to the bound, of all versions; the slope makes no reference stationary."""
    trained = partial(cubic, hessian=hessian, slope=slope, directions=directions, sizes=sizes)
    other = partial(cubic, hessian=mismatch, slope=slope, directions=other_directions, sizes=other_sizes)
    lipschitz, other_lipschitz = jnp.abs(sizes).sum(), jnp.abs(other_sizes).sum()
    merged = weights @ moved
    gain = gain_by_definition(trained, moved, weights)
    population = gain_by_definition(lambda x: trained(x) + other(x), moved, weights)
    at_merge = merging_gain(jax.hessian(trained)(merged), moved, weights)
    at_reference = merging_gain(hessian, moved, weights)
    curvature = jnp.abs(jnp.linalg.eigvalsh(jax.hessian(other)(merged))).max()
    errors = {
        "at merge": (gain - at_merge, error_at_merge(moved, weights, lipschitz)),
        "at reference": (gain - at_reference, error_at_reference(moved, weights, lipschitz=lipschitz)),
        "crude": (gain - at_reference, crude_error_at_reference(moved, weights, lipschitz)),
        "mismatch": (
            population - at_reference,
            error_at_reference(
                moved,
                weights,
                lipschitz=lipschitz,
                mismatch_lipschitz=other_lipschitz,
                mismatch_curvature=curvature,
            ),
        ),
        "mismatch left out": (population - at_reference, error_at_reference(moved, weights, lipschitz=lipschitz)),
    }
    rounding = 1e-11 * (jnp.abs(slope) @ jnp.abs(moved).sum(axis=0) + lipschitz * (moved**2).sum() ** 1.5)
    return {name: 1 + (rounding - jnp.abs(error)) / bound for name, (error, bound) in errors.items()}


@pytest.fixture(scope="module", params=[(1, 2), (3, 4)], ids=["line", "space"])
def slack_of(request: pytest.FixtureRequest) -> dict[str, jax.Array]:
    return jax.jit(jax.vmap(slacks))(*cubics(*request.param))


@pytest.mark.parametrize("version", ["at merge", "at reference", "crude", "mismatch"])
def test_the_gain_of_a_smooth_loss_is_within_the_bound_without_stationarity(
    slack_of: dict[str, jax.Array], version: str
) -> None:
    assert (slack_of[version] >= 0).all()


def test_leaving_out_the_mismatch_breaks_the_bound(slack_of: dict[str, jax.Array]) -> None:
    assert (slack_of["mismatch left out"] < 0).mean() > 0.2


def test_the_error_at_the_merge_is_reached_by_a_light_distant_branch() -> None:
    moved, weights = jnp.array([[1.0], [0.0]]), jnp.array([1e-7, 1 - 1e-7])
    error = gain_by_definition(lambda x: x[0] ** 3, moved, weights) - merging_gain(
        6 * weights[:1, None], moved, weights
    )
    assert error / error_at_merge(moved, weights, 6.0) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("factor", [0.99, 0.5])
def test_a_smaller_constant_would_be_broken(factor: float) -> None:
    moved, weights = jnp.array([[1.0], [0.0]]), jnp.array([1e-4, 1 - 1e-4])
    error = gain_by_definition(lambda x: x[0] ** 3, moved, weights) - merging_gain(
        6 * weights[:1, None], moved, weights
    )
    assert error > factor * error_at_merge(moved, weights, 6.0)


def test_the_crude_error_is_at_most_twice_its_branch_part() -> None:
    _, moved, weights = basins(2, 3, signed=False)
    crude = jax.vmap(lambda x, w: crude_error_at_reference(x, w, 3.0))(moved, weights)
    assert (crude <= (weights * jnp.linalg.norm(moved, axis=2) ** 3).sum(axis=1) * (1 + 1e-12)).all()


@pytest.mark.parametrize(
    ("moved", "weights", "complaint"),
    [
        (np.ones((2, 2)), [0.5, 0.4], "sum to 0.9"),
        (np.ones((2, 2)), [1.0], "2 branches need one each"),
        (np.ones(2), [0.5, 0.5], r"shape \(2,\); expected \[K, d\]"),
        (np.ones((2, 2)), [np.nan, 0.5], "weights has a non-finite|weights .*non-finite"),
    ],
)
def test_what_is_no_merge_is_refused(moved: np.ndarray, weights: list[float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        merging_gain(np.eye(2), moved, weights)
