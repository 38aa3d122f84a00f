"""What a branch is: a spec that decides its weights, and the order of its data."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from training.config import BranchSettings, Precision
from training.errors import InputError
from training.run_directory import content_hash, read_json
from training.seeds import child_generator
from training.settings_file import Settings

TOKENS_PER_ROW = 64
"""A guess that sizes progress bars and orders jobs before anything is tokenised; nothing else depends on it."""

WHERE_NOT_WHAT = {"start_path", "mixture_path"}


class BranchSpec(Settings):
    """Everything that decides a branch's weights, and where its files are relative to the spec's own folder."""

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
    start_path: str = "../../start"
    mixture_path: str = "../../mixture"

    @property
    def hash(self) -> str:
        """Name of the branch: SHA-256 (12 hex digits) of what is trained, not of where or how often it is saved."""
        content = self.model_dump(exclude=WHERE_NOT_WHAT)
        del content["settings"]["checkpoint_seconds"]
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


def step_indices(spec: BranchSpec, step: int, examples: int) -> list[int]:
    """Indices of the examples of a step: a pure function of seed, epoch and position.

    The epochs' permutations follow one another without a break, so every step but the last has the full batch.
    """
    first = step * spec.settings.batch_size
    positions = range(first, min(first + spec.settings.batch_size, spec.examples))
    orders = {epoch: _epoch_order(spec.seed, epoch, examples) for epoch in {place // examples for place in positions}}
    return [int(orders[place // examples][place % examples]) for place in positions]


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, examples: int) -> NDArray[np.int64]:
    return child_generator(seed, "order", epoch).permutation(examples)
