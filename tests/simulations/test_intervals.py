import numpy as np
import pytest

from simulations.intervals import mean_interval, share_interval


def test_the_interval_of_a_mean_covers_the_truth_19_times_in_20() -> None:
    rng = np.random.default_rng(0)
    intervals = [mean_interval(rng.normal(3.0, 2.0, size=5)) for _ in range(500)]
    covered = np.mean([interval["low"] <= 3.0 <= interval["high"] for interval in intervals])
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 500)


def test_a_normal_interval_would_cover_too_seldom_for_five_samples() -> None:
    interval = mean_interval([0.0, 1.0, 2.0, 3.0, 4.0])
    assert interval["high"] - interval["mean"] > 1.96 * np.sqrt(2.5 / 5) * 1.3


def test_the_interval_of_a_share_stays_inside_zero_and_one_and_never_has_no_width() -> None:
    never, always = share_interval(np.zeros(8, dtype=bool)), share_interval(np.ones(8, dtype=bool))
    assert never["low"] == pytest.approx(0.0, abs=1e-12)
    assert 0.2 < never["high"] < 0.5
    assert always["low"] == pytest.approx(1 - never["high"])


@pytest.mark.parametrize(("samples", "told"), [([1.0], "n ≥ 2"), ([1.0, np.inf], "sample 1 is not finite")])
def test_samples_that_allow_no_interval_are_refused(samples: list[float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        mean_interval(samples)


def test_a_share_of_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="a share is of events"):
        share_interval([0.0, 1.0])
