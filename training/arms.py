"""Arms: what is compared. An arm is some branches and a way to merge them; joint training is an arm with one branch.

Branches are named by the hash of their spec, so arms that share a branch train it once.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from training.branch_spec import BranchSpec
from training.config import BranchSettings, Recipe
from training.errors import InputError
from training.mixture import Task
from training.partitions import PartitionRule
from training.start import PlacedModel

FORMS = "base, start, joint, joint-EPOCHS, joint-equal-steps-K, merit-Nd, raw-Nd, random-K[-sSEED], a name in [splits]"


@dataclass(frozen=True, slots=True)
class Arm:
    """One unit of comparison.

    Attributes:
        name: as in the recipe.
        untrained: ``base`` and ``start`` are models of the run that nothing is trained for.
        partition: how the tasks are divided; None for arms with one branch over all of them.
        uniform: merge with equal weights instead of the branches' tokens.
        epochs: times the recipe's epochs.
        batch: times the recipe's batch size.
    """

    name: str
    untrained: Literal["base", "start"] | None = None
    partition: PartitionRule | None = None
    uniform: bool = False
    epochs: float = 1.0
    batch: int = 1


def parse_arms(recipe: Recipe) -> list[Arm]:
    """The arms of a recipe, in its order.

    Raises:
        InputError: an unknown arm, or a split whose name means another arm already.
    """
    for name in recipe.splits:
        if name.endswith("-uniform") or _is_built_in(name):
            raise InputError(f"splits.{name}: {name!r} means another arm already; give the split another name")
    return [parse_arm(name, recipe.splits) for name in recipe.arms]


def _is_built_in(name: str) -> bool:
    try:
        parse_arm(name, {})
    except InputError:
        return False
    return True


def parse_arm(name: str, splits: Mapping[str, object]) -> Arm:
    """The arm of this name.

    Raises:
        InputError: no arm has it.

    >>> parse_arm("merit-2d-uniform", {}).partition.depth
    2
    """
    if name in ("base", "start"):
        return Arm(name, untrained=name)
    if name == "joint":
        return Arm(name)
    if found := re.fullmatch(r"joint-equal-steps-(\d+)", name):
        return Arm(name, batch=_at_least(2, found[1], name))
    if found := re.fullmatch(r"joint-(\d+(?:\.\d+)?)", name):
        if float(found[1]) == 0:
            raise InputError(f"arm {name!r} would train for no time; give a positive number of epochs")
        return Arm(name, epochs=float(found[1]))
    stem = name.removesuffix("-uniform")
    rule = _rule(stem, splits)
    if rule is None:
        raise InputError(f"unknown arm {name!r}; arms are {FORMS}, and those that merge with -uniform appended")
    return Arm(name, partition=rule, uniform=stem != name)


def _rule(name: str, splits: Mapping[str, object]) -> PartitionRule | None:
    if name in splits:
        return PartitionRule(name, "given")
    if found := re.fullmatch(r"(merit|raw)-(\d)d", name):
        matrix = "cosine" if found[1] == "merit" else "gram"
        return PartitionRule(name, "pca", matrix=matrix, depth=_at_least(1, found[2], name))
    if found := re.fullmatch(r"random-(\d+)(?:-s(\d+))?", name):
        return PartitionRule(name, "random", groups=_at_least(2, found[1], name), index=int(found[2] or 0))
    return None


def _at_least(least: int, digits: str, name: str) -> int:
    if int(digits) < least:
        raise InputError(f"arm {name!r}: the number must be at least {least}")
    return int(digits)


@dataclass(frozen=True, slots=True)
class Specifier:
    """Makes branch specs for one run."""

    recipe: Recipe
    tasks: Mapping[str, Task]
    start: PlacedModel
    sketch_seed: int

    def branch(self, group: Sequence[str], *, epochs: float, batch: int) -> BranchSpec:
        """A branch over the tasks of ``group`` in the mixture's order.

        A batch larger than the data is cut to it: full-batch descent then has one step per epoch. ``batch`` > 1 sees as
        many examples in fewer steps, as many as one of ``batch`` branches of equal size takes.
        """
        return self._specify(group, "train", self.recipe.branch, epochs=epochs, batch=batch)

    def primer(self) -> BranchSpec:
        """The primer: all tasks' primer slices, from the base model."""
        spec = self._specify(list(self.tasks), "primer", self.recipe.primer_branch(), epochs=1.0, batch=1)
        return spec.model_copy(update={"start_path": "../../base"})

    def _specify(
        self,
        group: Sequence[str],
        split: Literal["train", "primer"],
        settings: BranchSettings,
        *,
        epochs: float,
        batch: int,
    ) -> BranchSpec:
        chosen = [task for name, task in self.tasks.items() if name in group]
        rows = sum(task.counts[split] for task in chosen)
        start = self.recipe.start
        return BranchSpec(
            tasks={task.name: task.hashes[split] for task in chosen},
            split=split,
            start=self.start.sha256,
            trainable=start.trainable,
            objective=start.objective,
            precision=self.start.precision,
            max_length=start.max_length,
            seed=self.recipe.seed,
            examples=max(1, round(epochs * settings.epochs * rows)),
            settings=settings.model_copy(update={"batch_size": min(settings.batch_size * batch, rows)}),
            sketch_size=self.recipe.conflicts.sketch_size,
            sketch_seed=self.sketch_seed,
        )
