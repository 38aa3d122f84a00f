"""How far a mean or a share over independent seeds can be trusted, as JSON values for findings."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.95
"""Coverage of every interval in this package."""

Interval = dict[str, float | int]
"""``mean``, ``low`` and ``high``, and the number ``n`` of independent samples behind them."""


def mean_interval(samples: ArrayLike) -> Interval:
    """Mean of independent samples with Student's t interval at 95 %.

    Args:
        samples: finite float [n], one per seed or instance, n ≥ 2.

    >>> mean_interval([1.0, 1.0, 1.0])
    {'mean': 1.0, 'low': 1.0, 'high': 1.0, 'n': 3}
    >>> {name: round(value, 3) for name, value in mean_interval([0.0, 1.0, 2.0]).items()}
    {'mean': 1.0, 'low': -1.484, 'high': 3.484, 'n': 3}
    """
    values = _as_samples(samples)
    mean = float(values.mean())
    margin = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * stats.sem(values))
    return {"mean": mean, "low": mean - margin, "high": mean + margin, "n": len(values)}


def share_interval(happened: ArrayLike) -> Interval:
    """Share of independent samples in which something happened, with Wilson's interval at 95 %.

    Args:
        happened: bool [n], n ≥ 2.

    >>> {name: round(value, 3) for name, value in share_interval([True, True, False, False]).items()}
    {'mean': 0.5, 'low': 0.15, 'high': 0.85, 'n': 4}
    """
    events = np.asarray(happened)
    if events.dtype != np.bool_:
        raise ValueError(f"a share is of events, bool [n]; got {events.dtype}")
    values = _as_samples(events)
    interval = stats.binomtest(int(values.sum()), len(values)).proportion_ci(LEVEL, method="wilson")
    return {
        "mean": float(values.mean()),
        "low": float(interval.low),
        "high": float(interval.high),
        "n": len(values),
    }


def _as_samples(samples: ArrayLike) -> np.ndarray:
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"samples have shape {values.shape}; an interval needs [n] with n ≥ 2")
    if not np.isfinite(values).all():
        raise ValueError(f"sample {np.argmin(np.isfinite(values))} is not finite; an interval needs finite samples")
    return values
