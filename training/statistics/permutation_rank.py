"""Where a rule's partition stands among random ones: the exact permutation test on ranks.

If the rule chose no better than chance, its arm would be one more random arm, and any of the n + 1 could have been the
rule's. The null distribution is therefore known without assumptions about the losses.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

CELLS_AT_MOST = 1 << 20
"""Possible rank sums up to which their distribution is computed and not sampled."""

SAMPLED = 100_000


@dataclass(frozen=True, slots=True)
class PermutationRank:
    """A rule among random partitions.

    Attributes:
        p_value: one-sided, of ranks as good as these or better if the rule were one more random draw.
        ranks: of the rule among n + 1 in each run, 1 for the lowest loss; ties share their mean rank.
        randoms: random partitions in each run.
        exact: whether the p-value comes from all placements; sampled ones otherwise.
        repeated: whether some runs are of one mixture: a rule that gives the same groups in all of them is one draw of
            a partition and not several, and then the p-value is too small.
    """

    p_value: float
    ranks: tuple[float, ...]
    randoms: tuple[int, ...]
    exact: bool
    repeated: bool = False

    @property
    def smallest_reachable(self) -> float:
        """The p-value if the rule had been first in every run: Π 1 / (n + 1)."""
        return math.prod(1 / (count + 1) for count in self.randoms)

    @property
    def verdict(self) -> str:
        """What the p-value allows to say."""
        places = ", ".join(f"{rank:g} of {count + 1}" for rank, count in zip(self.ranks, self.randoms, strict=True))
        if self.smallest_reachable > 0.05:
            how = "cannot be told from random partitions with so few of them"
        elif self.p_value <= 0.05:
            how = "is better than random partitions"
            if self.repeated:
                how += ", provided that its groups in runs of one mixture are separate draws"
        else:
            how = "is not shown to be better than random partitions"
        return (
            f"The rule {how} (rank {places}; permutation p = {self.p_value:.3g}, the smallest reachable is "
            f"{self.smallest_reachable:.3g})."
        )


def permutation_rank(
    rule: Sequence[float],
    randoms: Sequence[Sequence[float]],
    generator: np.random.Generator,
    *,
    repeated: bool = False,
) -> PermutationRank:
    """Test a rule against random partitions, in one run or in several by the sum of ranks / (n + 1).

    In one run p = (r + 1) / (n + 1), where r random arms do as well or better. Over several, runs must be independent
    draws of the rule's partition.

    Args:
        rule: the rule's loss in each run; lower is better.
        randoms: the random arms' losses in each run, at least one each.
        generator: of sampled placements, unused where the distribution is computed.
        repeated: whether some runs are of one mixture, and so perhaps no such draws.

    >>> permutation_rank([0.9], [[1.0, 1.2, 1.1]], np.random.default_rng(0)).p_value
    0.25
    """
    ranks = [rankdata([own, *others]) for own, others in zip(rule, randoms, strict=True)]
    counts = tuple(len(others) for others in randoms)
    # Twice a mean rank is an integer, and over the least common multiple of n + 1 so is its share of n + 1.
    common = math.lcm(*(count + 1 for count in counts))
    scores = [np.rint(2 * rank).astype(np.int64) * (common // len(rank)) for rank in ranks]
    observed = sum(int(score[0]) for score in scores)
    exact = 2 * common * len(scores) < CELLS_AT_MOST
    p_value = _computed(scores, observed) if exact else _sampled(scores, observed, generator)
    return PermutationRank(p_value, tuple(float(rank[0]) for rank in ranks), counts, exact, repeated)


def _computed(scores: Sequence[NDArray[np.int64]], observed: int) -> float:
    """Share of placements whose score is at most the observed one, by convolution over runs."""
    ways = np.ones(1)
    for score in scores:
        extended = np.zeros(len(ways) + int(score.max()))
        for place in score:
            extended[place : place + len(ways)] += ways / len(score)
        ways = extended
    return float(min(1.0, ways[: observed + 1].sum()))


def _sampled(scores: Sequence[NDArray[np.int64]], observed: int, generator: np.random.Generator) -> float:
    totals = sum(generator.choice(score, size=SAMPLED) for score in scores)
    return float((1 + np.count_nonzero(totals <= observed)) / (1 + SAMPLED))
