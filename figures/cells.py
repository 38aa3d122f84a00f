"""Numbers and times as tables and pictures write them."""

from collections.abc import Mapping

from figures.table import MISSING


def number_cell(value: float | None, digits: int) -> str:
    """``value`` with a fixed number of decimals and a minus sign that is one; a dash where there is none.

    >>> number_cell(-0.25, 3), number_cell(-0.0001, 3), number_cell(None, 3)
    ('−0.250', '0.000', '–')
    """
    return MISSING if value is None else f"{value:z.{digits}f}".replace("-", "−")


def interval_cell(interval: Mapping[str, float] | None, digits: int) -> str:
    """A value with the bounds of its 95 % interval; a dash where there is none.

    >>> interval_cell({"value": 0.25, "low": -0.5, "high": 1.0}, 2), interval_cell(None, 2)
    ('0.25 [−0.50, 1.00]', '–')
    """
    if interval is None:
        return MISSING
    value, low, high = (number_cell(interval[key], digits) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def percent_cell(share: float | None) -> str:
    """A share in per cent with one decimal.

    >>> percent_cell(0.28125), percent_cell(None)
    ('28.1', '–')
    """
    return number_cell(None if share is None else 100 * share, 1)


def difference_cell(interval: Mapping[str, float], digits: int = 3) -> str:
    """A difference with the bounds of its 95 % interval, all with their signs.

    >>> difference_cell({"value": 0.1, "low": -0.2, "high": 0.4}, 1)
    '+0.1 [−0.2, +0.4]'
    """
    value, low, high = (f"{interval[key]:+z.{digits}f}".replace("-", "−") for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def duration(seconds: float) -> str:
    """A time in the units that suit it.

    >>> duration(0.94), duration(75.1), duration(1680), duration(5880), duration(15.72)
    ('0.9 s', '1 min 15 s', '28 min 00 s', '1 h 38 min', '16 s')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"
