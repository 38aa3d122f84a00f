"""How numbers read in a report: as many digits as their interval is worth, and a minus sign that is one."""

import math

from training.evaluation.noise import Interval

FEWEST_DIGITS, MOST_DIGITS = 3, 6


def digits_of(*intervals: Interval) -> int:
    """Decimals that show two digits of the narrowest interval, so that numbers in one place have equally many.

    >>> digits_of(Interval(1.5, 1.4, 1.6)), digits_of(Interval(1.5, 1.4999, 1.5001))
    (3, 5)
    """
    widths = [interval.high - interval.low for interval in intervals if interval.high > interval.low]
    if not widths:
        return FEWEST_DIGITS
    return min(max(1 - math.floor(math.log10(min(widths))), FEWEST_DIGITS), MOST_DIGITS)


def number_text(value: float, digits: int = FEWEST_DIGITS, signed: bool = False) -> str:
    """``value`` with a fixed number of decimals.

    >>> number_text(-0.25), number_text(0.25, 1, signed=True)
    ('−0.250', '+0.2')
    """
    value += 0.0  # a negative zero becomes zero
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def bounds_text(interval: Interval, digits: int | None = None, signed: bool = False) -> str:
    """The interval alone, in brackets."""
    digits = digits_of(interval) if digits is None else digits
    return f"[{number_text(interval.low, digits, signed)}, {number_text(interval.high, digits, signed)}]"


def interval_text(interval: Interval, digits: int | None = None, signed: bool = False) -> str:
    """A value with its interval.

    >>> interval_text(Interval(-0.5, -0.75, 0.125), signed=True)
    '−0.500 [−0.750, +0.125]'
    """
    digits = digits_of(interval) if digits is None else digits
    return f"{number_text(interval.value, digits, signed)} {bounds_text(interval, digits, signed)}"


def comparison_text(difference: Interval, other: str) -> str:
    """What a loss minus another loss says, as the end of a sentence: lower, higher, or not told apart.

    >>> comparison_text(Interval(-0.5, -0.75, -0.25), "the start's")
    "0.500 [0.250, 0.750] lower than the start's"
    >>> comparison_text(Interval(0.5, -0.25, 1.25), "the start's")
    "not separated from the start's (+0.500 [−0.250, +1.250])"
    """
    if difference.low > 0:
        return f"{interval_text(difference)} higher than {other}"
    if difference.high < 0:
        return f"{interval_text(negated(difference))} lower than {other}"
    return f"not separated from {other} ({interval_text(difference, signed=True)})"


def negated(interval: Interval) -> Interval:
    """The interval of the opposite value."""
    return Interval(-interval.value, -interval.high, -interval.low)
