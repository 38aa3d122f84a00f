"""Numbers as the cells of a table."""

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
