"""The smallest difference that a design could see: at power 80 % and level 5 %, two-sided."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.optimize import root_scalar
from scipy.stats import ncf
from scipy.stats import t as student_t

from training.statistics.levels import PLURALS, LevelName
from training.statistics.variance_components import Components, Design

POWER = 0.8
SIGNIFICANCE = 0.05


@dataclass(frozen=True, slots=True)
class VisibleEffect:
    """What a study of some design would detect four times in five.

    Attributes:
        value: the true difference that is found significant with probability 80 %, in the metric's unit.
        with_twice: the same with twice as many members of one level, for each level that was measured.
        contributions: variance that each measured level adds.
        degrees: of freedom of the test.
        design: members of each level.
    """

    value: float
    with_twice: Mapping[LevelName, float]
    contributions: Mapping[LevelName, float]
    degrees: float
    design: Design

    @property
    def verdict(self) -> str:
        """What stays hidden, and what would help most."""
        hidden = f"A true difference below {self.value:.3g} would be missed more than one time in five"
        best = min(self.with_twice, key=lambda level: self.with_twice[level], default=None)
        if best is None or self.with_twice[best] >= self.value:
            return f"{hidden}."
        return f"{hidden}; with twice as many {PLURALS[best]}, below {self.with_twice[best]:.3g}."


def visible_effect(components: Components, design: Design) -> VisibleEffect:
    """The smallest visible effect of a design, given the variance that each level was measured to have."""

    def at(other: Design) -> float:
        return detectable(components.variance(other), components.degrees(other))

    return VisibleEffect(
        value=at(design),
        with_twice={level: at(design.with_times(level, 2.0)) for level in components.measured},
        contributions=components.contributions(design),
        degrees=components.degrees(design),
        design=design,
    )


def detectable(variance: float, degrees: float) -> float:
    """The difference that a two-sided t-test at 5 % finds with probability 80 %.

    With many degrees of freedom it is (1.960 + 0.842) standard errors; with few it is more.

    >>> round(detectable(1.0, 1e6), 3)
    2.802
    """
    edge = float(student_t.ppf(1 - SIGNIFICANCE / 2, degrees))

    def lacking(shift: float) -> float:
        # The square of a noncentral t is a noncentral F; SciPy's noncentral t is NaN far out.
        return POWER - float(ncf.sf(edge**2, 1, degrees, shift**2))

    upper = 4.0
    while lacking(upper) > 0:
        upper *= 2
    return math.sqrt(variance) * float(root_scalar(lacking, bracket=(0.5, upper)).root)
