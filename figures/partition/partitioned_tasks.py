"""The tasks of a run and the groups that one of its partitions puts them in, as its files say."""

from dataclasses import dataclass
from typing import Any

from training.errors import InputError
from training.run_directory import RunDirectory, read_json


@dataclass(frozen=True, slots=True)
class PartitionedTasks:
    """What ``conflicts.json`` and ``partitions/NAME.json`` hold.

    Attributes:
        conflicts: the first file; its lists and matrices follow the order of its ``tasks``.
        partition: the second file; its lists follow the same order.
        groups: per group the positions of its tasks in that order.
    """

    conflicts: dict[str, Any]
    partition: dict[str, Any]
    groups: tuple[tuple[int, ...], ...]

    @classmethod
    def read(cls, run: RunDirectory, name: str) -> "PartitionedTasks":
        """Read the conflicts and the partition ``name`` of ``run``.

        Raises:
            InputError: a file is missing, or the two are about different tasks.
        """
        conflicts, partition = read_json(run.conflicts), read_json(run.partition(name))
        positions = {task: position for position, task in enumerate(conflicts["tasks"])}
        different = sorted(positions.keys() ^ {task for group in partition["groups"] for task in group})
        if different:
            raise InputError(
                f"partition {name} and {run.conflicts} differ in {len(different)} tasks, first {different[0]!r}; "
                "run the partition again"
            )
        groups = tuple(tuple(positions[task] for task in group) for group in partition["groups"])
        return cls(conflicts, partition, groups)

    @property
    def tasks(self) -> list[str]:
        """Names of all tasks."""
        return self.conflicts["tasks"]
