"""Rules that divide the tasks of a mixture into groups, as an arm names them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from training.errors import InputError

RuleKind = Literal[
    "pca", "random", "kmeans", "kmeans-balanced", "conflict-induced", "conflict-induced-apart", "worst", "given"
]

MOST = 9999
"""Groups or branches that the name of an arm can ask for."""
RULE_FORMS = (
    "merit-Nd[-swap], raw-Nd[-swap], random-K[-sSEED], kmeans-K, kmeans-balanced-K, conflict-induced-K, "
    "conflict-induced-apart-K, worst-K, a name in [splits]"
)


@dataclass(frozen=True, slots=True)
class PartitionRule:
    """How tasks are divided.

    Attributes:
        name: as in the recipe, and that of the file in ``partitions/``.
        kind: along principal axes, at random, by one of the searches, or as given by the user.
        matrix: what a rule that looks at gradients works on, their cosine matrix or the Gram matrix.
        swap: ``pca`` only: let swaps on the centred Gram matrix, whatever ``matrix`` is, improve the cuts.
        depth: ``pca`` only: number of axes, for 2^depth groups.
        groups: number of groups of the other kinds; given groups are counted in the recipe.
        index: ``random`` only: which draw.
    """

    name: str
    kind: RuleKind
    matrix: Literal["cosine", "gram"] = "cosine"
    swap: bool = False
    depth: int = 1
    groups: int = 2
    index: int = 0

    def check(self, given: Sequence[Sequence[str]], tasks: Sequence[str]) -> None:
        """Refuse a rule that cannot divide these tasks, before anything is computed.

        Raises:
            InputError: fewer tasks than the groups need, or given groups that are no partition of the tasks.
        """
        if self.kind == "given":
            self._check_given(given, tasks)
            return
        groups = self.count(given)
        if groups > len(tasks):
            raise InputError(f"arm {self.name} makes {groups} groups of {len(tasks)} tasks; add tasks or drop the arm")
        if self.kind == "conflict-induced" and 2 * groups > len(tasks):
            raise InputError(
                f"arm {self.name} starts each of {groups} groups with a pair, of {len(tasks)} tasks; add tasks or drop "
                "the arm"
            )

    def count(self, given: Sequence[Sequence[str]]) -> int:
        """The number of groups; ``given`` are the user's own, where the rule names them."""
        if self.kind == "given":
            return len(given)
        return 2**self.depth if self.kind == "pca" else self.groups

    def _check_given(self, given: Sequence[Sequence[str]], tasks: Sequence[str]) -> None:
        listed = [task for group in given for task in group]
        unknown = next((task for task in listed if task not in tasks), None)
        if unknown is not None:
            raise InputError(f"splits.{self.name} names {unknown!r}, which is not in the mixture: {', '.join(tasks)}")
        wrong = next((task for task in tasks if listed.count(task) != 1), None)
        if wrong is not None:
            times = listed.count(wrong)
            raise InputError(f"splits.{self.name} has task {wrong!r} {times} times; put every task in one group")
        if len(given) < 2 or not all(given):
            raise InputError(f"splits.{self.name} has an empty group or only one; give two groups or more")


def parse_rule(name: str, splits: Mapping[str, object]) -> PartitionRule | None:
    """The rule of this name, or None when it names no rule.

    Args:
        name: of an arm, without what says how it is merged.
        splits: the user's own partitions by name; they take precedence.

    Raises:
        InputError: a rule by its form, with a number that is too small.

    >>> parse_rule("raw-2d-swap", {})
    PartitionRule(name='raw-2d-swap', kind='pca', matrix='gram', swap=True, depth=2, groups=2, index=0)
    >>> parse_rule("joint", {}) is None
    True
    """
    if name in splits:
        return PartitionRule(name, "given")
    if found := re.fullmatch(r"(merit|raw)-(\d)d(-swap)?", name):
        matrix = "cosine" if found[1] == "merit" else "gram"
        return PartitionRule(name, "pca", matrix=matrix, swap=bool(found[3]), depth=at_least(1, found[2], name))
    if found := re.fullmatch(r"random-(\d+)(?:-s(\d+))?", name):
        return PartitionRule(name, "random", groups=at_least(2, found[1], name), index=int(found[2] or 0))
    if found := re.fullmatch(r"worst-(\d+)", name):
        return PartitionRule(name, "worst", matrix="gram", groups=at_least(2, found[1], name))
    if found := re.fullmatch(r"(?P<kind>.+)-(?P<groups>\d+)", name):
        groups = found["groups"]
        match found["kind"]:
            case "kmeans" | "kmeans-balanced" | "conflict-induced" | "conflict-induced-apart" as kind:
                return PartitionRule(name, kind, groups=at_least(2, groups, name))
    return None


def at_least(least: int, digits: str, name: str) -> int:
    """The number in an arm's name.

    Raises:
        InputError: it is below ``least`` or beyond :data:`MOST`.
    """
    if not least <= int(digits) <= MOST:
        raise InputError(f"arm {name!r}: the number must be at least {least} and at most {MOST}")
    return int(digits)
