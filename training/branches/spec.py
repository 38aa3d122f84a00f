"""What a branch is: a spec that decides its weights."""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from training.config import BranchSettings, Precision
from training.errors import InputError
from training.run_directory import content_hash, read_json
from training.settings_file import Settings

TOKENS_PER_ROW = 64
"""A guess that sizes progress bars and orders jobs before anything is tokenised; nothing else depends on it."""

WHERE_NOT_WHAT = {"start_path", "mixture_path", "second_moments"}
HOW_IT_IS_KEPT = {"checkpoint_seconds", "second_moments"}
ADDED_LATER = ("strata", "share")
KeptMoments = Literal["none", "full", "rank-1"]
"""Whether a branch leaves Adam's second moments, and whether whole or as row and column sums."""


class Share(Settings):
    """A part of every task's rows.

    Attributes:
        index: which part, from 0.
        of: into how many parts of equal size the rows are divided.
        seed: of the division; the parts of one seed hold each row once.
    """

    index: int
    of: int
    seed: int


class BranchSpec(Settings):
    """Everything that decides a branch's weights, and where its files are relative to the spec's own folder.

    Attributes:
        examples: that the branch sees in all, over its epochs.
        strata: groups of its tasks; every batch holds about as many examples of a group as befit the group's size. None
            at all: the examples are shuffled whatever their tasks.
        share: the part of every task's rows that the branch sees; None for all of them.
        second_moments: what it leaves of Adam's.
    """

    tasks: dict[str, str]
    split: Literal["train", "primer"]
    start: str
    trainable: list[str]
    objective: Literal["cross-entropy", "squared-error"]
    precision: Precision
    max_length: int | None
    seed: int
    examples: int
    settings: BranchSettings
    sketch_size: int
    sketch_seed: int
    strata: tuple[tuple[str, ...], ...] = ()
    share: Share | None = None
    second_moments: KeptMoments = "none"
    start_path: str = "../../start"
    mixture_path: str = "../../mixture"

    @property
    def hash(self) -> str:
        """Name of the branch: SHA-256 (12 hex digits) of what is trained, not of where, how often or what is saved.

        Fields that specs did not always have count only where they say something: branches of earlier runs keep their
        names.
        """
        content = self.model_dump(exclude=WHERE_NOT_WHAT | {"settings"})
        content = {field: value for field, value in content.items() if value or field not in ADDED_LATER}
        content["settings"] = self.settings.model_dump(exclude=HOW_IT_IS_KEPT)
        content["tasks"] = list(content["tasks"].items())  # their order is the order of the examples
        return content_hash(content)[:12]

    @property
    def evaluation_name(self) -> str:
        """Name of the branch's own evaluation."""
        return f"branch-{self.hash}"

    @property
    def steps(self) -> int:
        """Optimiser steps; the last may see fewer examples."""
        return -(-self.examples // self.settings.batch_size)


def load_spec(path: Path) -> BranchSpec:
    """Read a spec.

    Raises:
        InputError: the file is missing or no spec.
    """
    try:
        return BranchSpec.model_validate(read_json(path))
    except ValidationError as error:
        raise InputError(f"{path} is not a branch spec: {str(error).splitlines()[0]}") from None
