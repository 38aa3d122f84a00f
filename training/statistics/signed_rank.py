"""The one-sided Wilcoxon signed-rank test over runs, as in the paper's tables 8 and 9."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata


@dataclass(frozen=True, slots=True)
class SignedRank:
    """Whether differences over runs lie below zero.

    Attributes:
        p_value: one-sided and exact, of differences this far below zero if each were as likely to be above.
        runs: number of differences, zeros included.
        negative: how many are below zero.
        zeros: how many are zero; they keep their ranks and take no side (Pratt 1959).
        tied: whether others have the same size; they share their mean rank.
    """

    p_value: float
    runs: int
    negative: int
    zeros: int
    tied: bool

    @property
    def smallest_reachable(self) -> float:
        """The p-value if all differences were below zero: 2⁻ⁿ."""
        return 0.5**self.runs

    @property
    def verdict(self) -> str:
        """What the p-value allows to say."""
        how = "is better" if self.p_value <= 0.05 else "is not shown to be better"
        return (
            f"The arm {how} (one-sided Wilcoxon p = {self.p_value:.3g} over {self.runs} runs, better in "
            f"{self.negative}; the smallest p they can reach is {self.smallest_reachable:.3g})."
        )


def signed_rank(differences: ArrayLike) -> SignedRank:
    """Test differences (arm minus other, lower is better) of independent runs against no difference.

    The distribution is that of all 2ⁿ sign patterns of these very ranks, so ties and zeros need no approximation; SciPy
    has the exact one without either, and enumerates or samples patterns otherwise.

    Args:
        differences: float [n], one per run, n ≥ 1.

    >>> signed_rank([-0.1, -0.4, -0.2, -0.5, -0.3]).p_value
    0.03125
    """
    values = np.asarray(differences, dtype=np.float64)
    sizes = np.abs(values)
    doubled = np.rint(2 * rankdata(sizes)).astype(np.int64)  # a mean rank is a multiple of one half
    share = np.ones(1)
    for rank in doubled[values != 0]:
        longer = np.zeros(len(share) + rank)
        longer[: len(share)] += share / 2
        longer[rank:] += share / 2
        share = longer
    above = int(doubled[values > 0].sum())
    apart = sizes[values != 0]
    return SignedRank(
        p_value=float(min(1.0, share[: above + 1].sum())),
        runs=len(values),
        negative=int((values < 0).sum()),
        zeros=int((values == 0).sum()),
        tied=len(np.unique(apart)) < len(apart),
    )
