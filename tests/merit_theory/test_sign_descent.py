"""Sign descent: expected updates against simulation, what cancels, and where merging is not shorter than joint."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from merit_theory.conflict import principal_axes
from merit_theory.partition import cut_in_two
from merit_theory.sign_descent import (
    disagreement,
    expected_sign,
    joint_update,
    length_ratio,
    merged_update,
    simulate_sign_descent,
)

Floats = NDArray[np.float64]
HALVES = np.array([0.5, 0.5])
seeds = st.integers(0, 2**32 - 1)
noises = st.sampled_from([0.0, 0.01, 0.3, 1.0, 10.0])

# Compiled once per shape: hundreds of examples of a few operations each spend their time in dispatch otherwise.
sign_of, merge, join, ratio_of = map(jax.jit, (expected_sign, merged_update, joint_update, length_ratio))
simulated = jax.jit(jax.vmap(simulate_sign_descent, in_axes=(0, None, None, None, None)), static_argnums=4)


def group_means(n_groups: int, seed: int) -> Floats:
    """Heavy-tailed mean gradients of the groups, [n_groups, 20]."""
    return np.random.default_rng(seed).standard_t(1.5, (n_groups, 20))


@pytest.mark.parametrize("noise", [0.1, 1.0, 5.0])
def test_simulated_sign_descent_has_the_expected_mean_and_spread(noise: float) -> None:
    gradient, runs, steps, rate = jnp.array([2.0, 0.5, 0.0, -0.05, -1.0]), 4000, 20, 0.1
    keys = jax.random.split(jax.random.key(0), runs)
    found = np.asarray(simulated(keys, gradient, noise, rate, steps))
    mean_sign = np.asarray(sign_of(gradient, noise))
    spread = rate * np.sqrt(steps * (1 - mean_sign**2))
    assert (np.abs(found.mean(axis=0) + rate * steps * mean_sign) <= 5 * spread / runs**0.5 + 1e-12).all()
    np.testing.assert_allclose(found.std(axis=0), spread, rtol=0.1, atol=1e-3)


@given(noises, seeds)
def test_expected_sign_is_odd_monotone_and_within_one(noise: float, seed: int) -> None:
    means = np.sort(np.random.default_rng(seed).standard_t(1.5, 20))
    signs = np.asarray(sign_of(means, noise))
    assert (np.diff(signs) >= 0).all()
    assert (np.abs(signs) <= 1).all()
    np.testing.assert_allclose(sign_of(-means, noise), -signs, atol=1e-15)


def test_expected_sign_of_known_arguments() -> None:
    # P(|ξ| < 1) = .682689…, P(|ξ| < 2) = .954500…
    assert sign_of([3.0, -6.0], 3.0).tolist() == pytest.approx([0.6826894921, -0.9544997361], rel=1e-9)


def test_without_noise_groups_that_disagree_cancel_and_others_move_in_full() -> None:
    means = group_means(2, 0)
    opposed = np.sign(means[0]) != np.sign(means[1])
    merged = np.asarray(merge(means, HALVES, 0.0))
    assert (merged[opposed] == 0).all()
    assert (np.abs(merged[~opposed]) == 1).all()
    assert disagreement(means).item() == opposed.mean()
    assert ratio_of(means, HALVES, 0.0).item() ** 2 == pytest.approx(1 - opposed.mean(), rel=1e-12)


@given(noises, seeds)
def test_two_groups_of_equal_weight_never_move_further_than_joint_in_any_coordinate(noise: float, seed: int) -> None:
    means = group_means(2, seed)
    merged, joint = merge(means, HALVES, noise), join(means, HALVES, noise)
    assert (jnp.abs(merged) <= jnp.abs(joint) + 1e-15).all()


@given(st.sampled_from([3, 8]), seeds)
def test_without_noise_no_number_of_groups_moves_further_than_joint(n_groups: int, seed: int) -> None:
    weights = np.random.default_rng(seed).dirichlet(np.ones(n_groups))
    assert ratio_of(group_means(n_groups, seed), weights, 0.0).item() <= 1 + 1e-12


def test_with_noise_three_groups_or_unequal_weights_can_move_further_than_joint() -> None:
    outvoted = np.array([[-10.0], [6.0], [6.0]])
    assert ratio_of(outvoted, [1 / 3, 1 / 3, 1 / 3], 3.0).item() > 1.1
    assert ratio_of(outvoted[:2], [0.35, 0.65], 3.0).item() > 2
    # Two equal groups far apart fall short of joint at the same noise.
    assert ratio_of([[-10.0], [11.0]], HALVES, 3.0).item() < 1


def test_a_mean_gradient_of_exactly_zero_does_not_move_joint_but_can_move_merged() -> None:
    means, quarters = np.array([[3.0], [-1.0], [-1.0], [-1.0]]), np.full(4, 0.25)
    assert join(means, quarters, 0.0).item() == 0
    assert merge(means, quarters, 0.0).item() == -0.5


@given(seeds)
def test_where_noise_drowns_the_gradient_the_split_leaves_no_trace(seed: int) -> None:
    means = np.random.default_rng(seed).standard_normal((4, 20))
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    merged, joint = (update(means, weights, 1e4) for update in (merge, join))
    np.testing.assert_allclose(merged, joint, atol=1e-6 * float(jnp.abs(joint).max()))
    np.testing.assert_allclose(joint, weights @ means * np.sqrt(2 / np.pi) / 1e4, rtol=1e-6)


def test_a_split_along_the_conflict_cancels_more_than_a_random_one_and_less_so_with_noise() -> None:
    rng = np.random.default_rng(5)
    ratios: dict[str, list[list[float]]] = {"pca": [], "random": []}
    for _ in range(20):
        gradients = rng.standard_normal((16, 200)) + np.outer(np.repeat([1, -1], 8), rng.standard_normal(200))
        gradients += 0.5 * rng.standard_normal(200)
        gradients /= np.sqrt((gradients.mean(axis=0) ** 2).mean())
        coordinate = principal_axes(gradients @ gradients.T, 1, centre="double").coordinates[:, 0]
        for name, sides in (
            ("pca", cut_in_two(coordinate, cut="count")),
            ("random", np.split(rng.permutation(16), 2)),
        ):
            means = np.stack([gradients[side].mean(axis=0) for side in sides])
            ratios[name].append([ratio_of(means, HALVES, noise).item() for noise in (0.01, 1.0, 10.0)])
    pca, random = np.mean(ratios["pca"], axis=0), np.mean(ratios["random"], axis=0)
    assert pca[0] < pca[1] < pca[2]
    assert (pca[:2] < random[:2] - 0.05).all()
    assert pca[2] > 0.9
    assert random[2] - pca[2] < 0.1


def test_where_steps_see_one_task_each_the_split_leaves_no_trace_at_any_noise() -> None:
    tasks, steps, noise = jnp.asarray(group_means(8, 3)), 4000, 0.2

    @jax.jit
    def run(key: jax.Array, members: jax.Array) -> jax.Array:
        """Mean sign over steps that each see one of the tasks, drawn at random."""
        which, noisy = jax.random.split(key)
        drawn = tasks[jax.random.choice(which, members, (steps,))]
        return jnp.sign(drawn + noise * jax.random.normal(noisy, drawn.shape, dtype=drawn.dtype)).mean(axis=0)

    keys = jax.random.split(jax.random.key(6), 3)
    joint = run(keys[0], jnp.arange(8))
    merged = (run(keys[1], jnp.arange(4)) + run(keys[2], jnp.arange(4, 8))) / 2
    assert (jnp.abs(merged - joint) < 5 * (1.5 / steps) ** 0.5).all()
    full_groups = jnp.stack([tasks[:4].mean(axis=0), tasks[4:].mean(axis=0)])
    assert (jnp.abs(merge(full_groups, HALVES, noise) - join(full_groups, HALVES, noise)) > 0.3).any()


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: expected_sign(1.0, -1.0), "zero or more"),
        (lambda: expected_sign([1.0, np.nan], 1.0), "non-finite entry at"),
        (lambda: merged_update(np.ones((2, 3)), [1.0], 0.1), r"weights \(1,\)"),
        (lambda: length_ratio(np.ones((2, 3)), [0.5, 0.4], 0.1), "expected sum 1"),
        (lambda: simulate_sign_descent(jax.random.key(0), [1.0], 1.0, 0.1, -1), "-1 steps"),
    ],
)
def test_what_is_no_descent_or_merge_is_refused(call, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        call()
