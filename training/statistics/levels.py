"""What a number was measured on: how many mixtures, seeds, partitions, tasks and items, and what that covers.

Two chains of nesting meet in a mixture: it is trained with several seeds, and each of those draws its partitions; it
has tasks, and each of those has items. Between the chains everything is crossed: what any seed or partition gave is
tested on the same tasks.
"""

from dataclasses import dataclass
from typing import Literal

LevelName = Literal["mixture", "seed", "partition", "task", "item"]

LEVELS: tuple[LevelName, ...] = ("mixture", "seed", "partition", "task", "item")

ABOVE: dict[LevelName, LevelName] = {"seed": "mixture", "partition": "seed", "task": "mixture", "item": "task"}
"""The level whose members each hold some of this one."""

PLURALS: dict[LevelName, str] = {
    "mixture": "mixtures",
    "seed": "seeds",
    "partition": "partitions",
    "task": "tasks",
    "item": "items",
}


@dataclass(frozen=True, slots=True)
class Counts:
    """Members of each level in the whole study; every seed of every mixture is one run.

    Attributes:
        mixture: mixtures.
        seed: runs, over all mixtures.
        partition: partitions, over all runs; None where neither arm draws one at random.
        task: tasks, over all mixtures.
        item: test items, over all tasks; those that several runs share count once.
    """

    mixture: int
    seed: int
    partition: int | None
    task: int
    item: int

    def of(self, level: LevelName) -> int | None:
        """Members of ``level``."""
        return getattr(self, level)

    @property
    def levels(self) -> tuple[LevelName, ...]:
        """The levels that this comparison has."""
        return tuple(level for level in LEVELS if self.of(level) is not None)

    @property
    def resampled(self) -> tuple[LevelName, ...]:
        """Levels with several members in some member of the level above: what a bootstrap can draw from."""
        return tuple(level for level in self.levels if (self.of(level) or 0) > self._parents(level))

    @property
    def covered(self) -> tuple[LevelName, ...]:
        """Levels that an interval speaks of: those resampled, and those below them.

        One seed for each of ten mixtures cannot be told from the mixtures, but its noise is in what differs between
        them.

        >>> Counts(mixture=1, seed=1, partition=3, task=8, item=128).covered
        ('partition', 'task', 'item')
        >>> Counts(mixture=10, seed=10, partition=None, task=80, item=80).covered
        ('mixture', 'seed', 'task', 'item')
        """
        covered: list[LevelName] = []
        for level in self.levels:
            if level in self.resampled or ABOVE.get(level) in covered:
                covered.append(level)
        return tuple(covered)

    @property
    def silent(self) -> tuple[LevelName, ...]:
        """Levels that were not varied, of which an interval says nothing."""
        return tuple(level for level in self.levels if level not in self.covered)

    @property
    def scope(self) -> str:
        """What an interval covers and what not, as the end of a sentence.

        >>> Counts(mixture=1, seed=1, partition=None, task=8, item=128).scope
        'over 8 tasks and 128 items; says nothing of other mixtures or seeds'
        """
        covered = _listed([f"{self.of(level)} {PLURALS[level]}" for level in self.covered], "and")
        silent = _listed([PLURALS[level] for level in self.silent], "or")
        said = f"over {covered}" if covered else "over nothing that varies"
        return f"{said}; says nothing of other {silent}" if silent else said

    def _parents(self, level: LevelName) -> int:
        return 1 if level == "mixture" else self.of(ABOVE[level]) or 1


def _listed(words: list[str], joint: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {joint} {words[-1]}" if words else ""
