"""A paired difference of two arms, with the interval that suits the number of samples, and what it allows to say."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.evaluation.noise import LEVEL, Interval
from training.statistics.hierarchical_bootstrap import bootstrap
from training.statistics.levels import Counts
from training.statistics.paired import PairedStudy
from training.statistics.student import crossed_cells, student_estimate

FEW = 20
"""Fewer members than this at the level that decides, and the bootstrap's interval gives way to Student's."""


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The difference of macro means, arm minus other.

    Attributes:
        interval: the value with the 95 % interval to quote: ``student`` where samples are few, else ``bootstrap``.
        method: which of the two that is.
        p_value: two-sided, by the same method.
        bootstrap: hierarchical percentile interval.
        student: Student's interval; None where only items vary.
        counts: members of each level, and so what the interval covers.
    """

    interval: Interval
    method: Literal["student", "bootstrap"]
    p_value: float
    bootstrap: Interval
    student: Interval | None
    counts: Counts

    @property
    def verdict(self) -> str:
        """What the interval allows to say, over what and beyond which nothing."""
        if not self.counts.covered:
            how = "cannot be judged"
        elif not self.interval.separates_from_zero:
            how = "is not separated from zero"
        else:
            how = "is below zero" if self.interval.value < 0 else "is above zero"
        return f"The difference {how} {self.counts.scope}."


def paired_difference(study: PairedStudy, draws: int, generator: np.random.Generator) -> PairedDifference:
    """Measure a study's difference.

    Args:
        study: differences of two arms.
        draws: of the bootstrap.
        generator: of the draws.
    """
    drawn = bootstrap(study, draws, generator)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    percentile = Interval(study.value, float(low), float(high))
    estimate = student_estimate(study)
    student = None if estimate is None else estimate.interval
    if estimate is not None and student is not None and _fewest(study) < FEW:
        return PairedDifference(student, "student", estimate.p_value, percentile, student, study.counts)
    beyond = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    p_value = min(1.0, 2 * (1 + beyond) / (1 + draws))
    return PairedDifference(percentile, "bootstrap", p_value, percentile, student, study.counts)


def _fewest(study: PairedStudy) -> int:
    """Members at the level that decides: mixtures where there are several, else the fewer of units and tasks."""
    if len(study.mixtures) > 1:
        return len(study.mixtures)
    units, tasks = crossed_cells(study).shape
    return min(units, tasks) if units > 1 else tasks
