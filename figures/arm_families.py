"""Kinds of arms, told from their names: what a picture of many arms is ordered by."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from figures.style import GROUP_COLOURS, MUTED


class Family(StrEnum):
    """Kinds of arms, in the order that pictures and tables have them."""

    REFERENCES = "references"
    JOINT = "joint training"
    CONTROLS = "random controls"
    PARTITIONS = "partitions"
    SOUPS = "soups"
    OPERATORS = "other operators"
    FITTED = "fitted or scaled"


COLOURS = dict(zip(Family, (MUTED, *GROUP_COLOURS[1:3], GROUP_COLOURS[0], *GROUP_COLOURS[3:6]), strict=True))

_PREFIXES = {"joint": Family.JOINT, "random-": Family.CONTROLS, "iid-": Family.CONTROLS, "soup-": Family.SOUPS}


def family_of(arm: str) -> Family:
    """The family of an arm; a name of the user's own is a partition.

    >>> [family_of(arm).name for arm in ("start", "joint-2", "merit-1d-uniform", "joint@fitted", "random-2+ties")]
    ['REFERENCES', 'JOINT', 'PARTITIONS', 'FITTED', 'OPERATORS']
    """
    if arm in ("base", "start"):
        return Family.REFERENCES
    if "@" in arm or arm.endswith("+fitted"):
        return Family.FITTED
    if "+" in arm:
        return Family.OPERATORS
    return next((family for prefix, family in _PREFIXES.items() if arm.startswith(prefix)), Family.PARTITIONS)


def by_family(arms: Iterable[str]) -> dict[Family, Sequence[str]]:
    """The arms of each family that has any, within it in the order given."""
    names = list(arms)
    found = {family: [arm for arm in names if family_of(arm) is family] for family in Family}
    return {family: own for family, own in found.items() if own}
