"""How sure a number is: paired bootstrap over items within tasks, with the same draws for everything that is measured.

Because the draws are common, differences between models, points and predictions are paired without further ado. They
cover the choice of items and nothing else: another seed or another split of the tasks adds noise of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.evaluation.noise import LEVEL, Interval


@dataclass(frozen=True, slots=True)
class Resamples:
    """Draws of units (items, or micro-batches of them) within strata (tasks).

    Attributes:
        tokens: float64 [n_units], answer tokens of each unit.
        counts: float64 [n_draws, n_units], how often each draw holds each unit.
    """

    tokens: NDArray[np.float64]
    counts: NDArray[np.float64]

    @classmethod
    def of(cls, stratum: ArrayLike, tokens: ArrayLike, draws: int, generator: np.random.Generator) -> "Resamples":
        """Draw as many units as each stratum has, with replacement.

        A unit alone in its stratum would be in every draw once, as if nothing were left to chance; where there is one,
        all units are drawn as one stratum, which is wider than need be.

        Args:
            stratum: int [n_units].
            tokens: int [n_units].
            draws: how many.
            generator: of the draws.
        """
        strata = np.asarray(stratum)
        if np.unique(strata, return_counts=True)[1].min() == 1:
            strata = np.zeros_like(strata)
        counts = np.zeros((draws, len(strata)))
        for number in np.unique(strata):
            units = np.flatnonzero(strata == number)
            counts[:, units] = generator.multinomial(len(units), np.full(len(units), 1 / len(units)), size=draws)
        return cls(np.asarray(tokens, dtype=np.float64), counts)

    def mean(self, sums: ArrayLike) -> NDArray[np.float64]:
        """Σ sums / Σ tokens over all units: float64 [...] of ``sums`` [..., n_units], in nats per answer token."""
        return np.asarray(sums, dtype=np.float64).sum(axis=-1) / self.tokens.sum()

    def means(self, sums: ArrayLike) -> NDArray[np.float64]:
        """The same for every draw: float64 [..., n_draws]."""
        return np.asarray(sums, dtype=np.float64) @ self.counts.T / (self.counts @ self.tokens)

    def interval(self, sums: ArrayLike, statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Interval:
        """The statistic of the means with its 95 % interval over draws.

        Args:
            sums: float [m, n_units], nats summed over each unit's answer tokens, for m models or points.
            statistic: takes means [m, n] to numbers [n], for every draw at once.

        >>> resamples = Resamples.of([0, 0], [1, 1], 100, np.random.default_rng(0))
        >>> resamples.interval([[1.0, 1.0], [3.0, 3.0]], lambda means: means[1] - means[0])
        Interval(value=2.0, low=2.0, high=2.0)
        """
        value = statistic(self.mean(sums)[:, None])[0]
        return interval_of(float(value), statistic(self.means(sums)))


def interval_of(value: float, draws: ArrayLike) -> Interval:
    """``value`` with the central 95 % of its bootstrap ``draws`` [n]."""
    low, high = np.quantile(np.asarray(draws, dtype=np.float64), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))
