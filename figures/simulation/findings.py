"""Findings of a stored experiment by name, and what the theory predicted of them."""

from collections.abc import Iterable, Mapping
from typing import Any

from figures.simulation.intervals import Intervals, stored_intervals
from figures.simulation_result import SimulationResult
from training.errors import InputError


def found(result: SimulationResult, name: str) -> Any:
    """What came out under the name of a finding.

    Raises:
        InputError: there is no such finding.
    """
    finding = _entry(result, result.findings, name)
    return finding["found"] if isinstance(finding, Mapping) and "found" in finding else finding


def intervals(result: SimulationResult, name: str, keys: Iterable[str | tuple[str, ...]]) -> Intervals:
    """Intervals of a finding, in the order of ``keys``; a tuple leads down through nested findings.

    Raises:
        InputError: there is no such finding, or it lacks one of the keys.
    """
    entries = []
    for key in keys:
        entry = found(result, name)
        for step in (key,) if isinstance(key, str) else key:
            entry = _entry(result, entry, step)
        entries.append(entry)
    return stored_intervals(entries)


def predicted(result: SimulationResult, name: str) -> Any:
    """What the theory said of a finding beforehand: words, a number, or numbers by key.

    Raises:
        InputError: there is no such finding, or nothing was predicted of it.
    """
    return _entry(result, _entry(result, result.findings, name), "predicted")


def _entry(result: SimulationResult, entries: Mapping[str, Any], key: str) -> Any:
    if key not in entries:
        raise InputError(
            f"the result of {result.name} has no finding {key!r}: it comes from another version, or from a "
            f"configuration without it; run python -m simulations {result.name} with its own configuration"
        )
    return entries[key]
