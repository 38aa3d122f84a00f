"""Findings in words: one row each, what the theory predicted beside what came out."""

from typing import Any

from rich.table import Table


def findings_table(findings: dict[str, Any]) -> Table:
    """A table of findings.

    Args:
        findings: JSON values by name. A value with the keys ``predicted`` and ``found`` fills both columns; nested
            values give one row per leaf; a value with ``mean``, ``low``, ``high`` and ``n`` is an interval.
    """
    table = Table("finding", "the theory", "what came out", title_justify="left")
    for name, value in findings.items():
        if isinstance(value, dict) and set(value) == {"predicted", "found"}:
            predicted, found = _lines(value["predicted"]), _lines(value["found"])
        else:
            predicted, found = "", _lines(value)
        table.add_row(name, predicted, found)
    return table


def _lines(value: Any, depth: int = 0) -> str:
    """A value as text: one line for each entry of a nested one, whatever lies below in that line.

    >>> print(_lines({"PCA": {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 8}, "random": {"steps": 1, "tokens": 2}}))
    PCA: 0.5 [0.25, 0.75]
    random: steps 1; tokens 2
    """
    if not isinstance(value, dict) or _is_interval(value):
        return _text(value)
    between, joint = ("\n", ": ") if depth == 0 else ("; ", " ")
    return between.join(f"{name}{joint}{_lines(inner, depth + 1)}" for name, inner in value.items())


def _is_interval(value: dict[str, Any]) -> bool:
    return set(value) == {"mean", "low", "high", "n"}


def _text(value: Any) -> str:
    """A leaf, numbers to three digits.

    >>> _text(0.12345), _text([1.0, 20.0]), _text(True), _text("as predicted")
    ('0.123', '1, 20', 'yes', 'as predicted')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return f"{_text(value['mean'])} [{_text(value['low'])}, {_text(value['high'])}]"
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
