"""The PAC-Bayes bound, its coverage, and what a shorter displacement can and cannot buy."""

from math import erf

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merit_theory.pac_bayes import break_even_noise, complexity, gaussian_kl, loss_bound

# Compiled once: hundreds of examples of a few operations each spend their time in dispatch otherwise.
complexity_of = jax.jit(complexity, static_argnums=(2, 3))
even_noise = jax.jit(break_even_noise, static_argnums=3)


def test_kl_is_the_mean_log_ratio_of_the_densities() -> None:
    noise, shift, draws = 0.7, jnp.array([0.3, -1.2, 0.4]), 200_000
    points = shift[None, :] + noise * jax.random.normal(jax.random.key(0), (draws, 3), dtype=jnp.float64)
    ratio = ((points**2).sum(axis=1) - ((points - shift[None, :]) ** 2).sum(axis=1)) / (2 * noise**2)
    expected = gaussian_kl(jnp.linalg.norm(shift), noise).item()
    assert abs(ratio.mean().item() - expected) < 5 * ratio.std().item() / draws**0.5


def test_bound_covers_the_true_loss_of_a_noisy_classifier_and_says_nothing_for_little_noise() -> None:
    """A threshold is learnt from n points of which every fifth is mislabelled; prior at zero, loss in closed form."""
    rng = np.random.default_rng(1)
    examples, runs, noise = 60, 300, 0.5
    threshold = 0.3

    def noisy_losses(centre: float, points: np.ndarray, labels: np.ndarray) -> float:
        """Mean probability that a threshold drawn around the centre errs on the points."""
        above = 1 - np.array([0.5 * (1 + erf((centre - point) / (noise * 2**0.5))) for point in points])
        return float(np.where(labels > 0, 1 - above, above).mean())

    fresh = rng.uniform(-1, 1, 4000)
    fresh_labels = np.where(rng.random(4000) < 0.2, -1, 1) * np.sign(fresh - threshold)
    covered = 0
    for _ in range(runs):
        points = rng.uniform(-1, 1, examples)
        labels = np.where(rng.random(examples) < 0.2, -1, 1) * np.sign(points - threshold)
        grid = np.linspace(-1, 1, 21)
        centre = grid[np.argmin([(np.sign(points - place) != labels).mean() for place in grid])]
        bound = loss_bound(noisy_losses(centre, points, labels), abs(centre), noise, examples, 0.05).item()
        covered += bound >= noisy_losses(centre, fresh, fresh_labels)
    assert covered >= 0.95 * runs
    assert complexity_of(0.3, 0.01, examples).item() > 1


@given(st.floats(0.1, 10), st.floats(0.01, 2), st.sampled_from([8, 1000, 136_000]))
def test_complexity_grows_with_distance_and_shrinks_with_noise_and_examples(
    distance: float, noise: float, examples: int
) -> None:
    here = complexity_of(distance, noise, examples)
    assert complexity_of(1.1 * distance, noise, examples) > here
    assert complexity_of(distance, 1.1 * noise, examples) < here
    assert complexity_of(distance, noise, 2 * examples) < here
    assert complexity_of(distance, noise, examples, 0.01) > here


@given(st.floats(0, 5), st.floats(0.01, 20), st.floats(0.01, 2), st.sampled_from([100, 136_000]))
def test_at_the_break_even_noise_the_bounds_are_equal_and_below_it_the_near_model_has_the_lower(
    near: float, extra: float, gap: float, examples: int
) -> None:
    far = near + extra
    noise = even_noise(near, far, gap, examples).item()

    def advantage(factor: float) -> float:
        return (complexity_of(far, factor * noise, examples) - complexity_of(near, factor * noise, examples)).item()

    assert advantage(1.0) == pytest.approx(gap, rel=1e-9)
    assert advantage(0.9) > gap > advantage(1.1)


def test_with_the_numbers_of_half_an_epoch_the_exchange_pays_only_where_the_bound_says_little() -> None:
    """Displacements 13.7 and 5.7, training losses .71 and 1.20 (table 1), read as ℓ₂ norms and a bounded loss."""
    noise = even_noise(5.7, 13.7, 1.20 - 0.71, 136_000).item()
    assert noise == pytest.approx(0.0221, abs=1e-4)
    assert complexity_of(5.7, noise, 136_000).item() > 0.34


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: gaussian_kl(-1.0, 1.0), "distance must be zero or more"),
        (lambda: gaussian_kl(1.0, 0.0), "positive standard deviation"),
        (lambda: gaussian_kl(np.nan, 1.0), "distance must be zero or more"),
        (lambda: complexity(1.0, 1.0, 7), "at least 8"),
        (lambda: complexity(1.0, 1.0, 100, 1.0), "strictly between 0 and 1"),
        (lambda: loss_bound(1.2, 1.0, 1.0, 100), r"training loss in \[0, 1\]"),
        (lambda: break_even_noise(2.0, 1.0, 0.1, 100), "near < far"),
        (lambda: break_even_noise(1.0, 2.0, 0.0, 100), "gap must be positive"),
    ],
)
def test_what_has_no_bound_is_refused(call, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        call()
