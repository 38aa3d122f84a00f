"""Draws are common to everything measured, and stay within their stratum."""

import numpy as np
import pytest

from diagnostics.resampling import Resamples, interval_of

STRATUM, TOKENS = np.array([0, 0, 0, 1, 1]), np.array([3, 1, 2, 5, 4])


def resamples(draws: int = 400) -> Resamples:
    return Resamples.of(STRATUM, TOKENS, draws, np.random.default_rng(1))


def test_every_draw_holds_as_many_units_of_each_stratum() -> None:
    counts = resamples().counts
    assert (counts[:, :3].sum(axis=1) == 3).all()
    assert (counts[:, 3:].sum(axis=1) == 2).all()
    assert counts.std() > 0


def test_means_are_ratios_of_sums() -> None:
    drawn = resamples()
    sums = np.random.default_rng(0).random((2, 5))
    assert drawn.mean(sums) == pytest.approx(sums.sum(axis=1) / 15)
    count = drawn.counts[7]
    assert drawn.means(sums)[:, 7] == pytest.approx((sums @ count) / (TOKENS @ count))


def test_a_constant_difference_has_no_width_however_noisy_the_losses() -> None:
    drawn = resamples()
    losses = 10 * np.random.default_rng(0).random(5)
    pair = np.stack([losses, losses + 0.5 * TOKENS])
    difference = drawn.interval(pair, lambda means: means[1] - means[0])
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.5, 0.5, 0.5))
    alone = drawn.interval(pair, lambda means: means[0])
    assert alone.high - alone.low > 0.05


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        sums = rng.normal(1.0, 1.0, size=(1, 40))
        drawn = Resamples.of(np.zeros(40), np.ones(40), 200, rng)
        interval = drawn.interval(sums, lambda means: means[0])
        covered += interval.low <= 1.0 <= interval.high
    assert 0.87 <= covered / 200 <= 0.99


def test_an_interval_is_made_of_plain_numbers() -> None:
    interval = interval_of(np.float64(1.0), np.arange(101.0))
    assert {type(number) for number in (interval.value, interval.low, interval.high)} == {float}
    assert (interval.low, interval.high) == pytest.approx((2.5, 97.5))
