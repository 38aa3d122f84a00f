"""Branch specs for tests."""

from typing import Any

from training.branches.spec import BranchSpec
from training.config import BranchSettings


def make_spec(**changes: Any) -> BranchSpec:
    """A small spec, with changes."""
    values = {
        "tasks": {"a": "11", "b": "22"},
        "split": "train",
        "start": "33",
        "trainable": ["*"],
        "objective": "cross-entropy",
        "precision": "float32",
        "max_length": None,
        "seed": 0,
        "examples": 20,
        "settings": BranchSettings(batch_size=4),
        "sketch_size": 64,
        "sketch_seed": 1,
    }
    return BranchSpec(**values | changes)
