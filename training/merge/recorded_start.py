"""Which start a branch was trained from, as its own folder records it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.errors import InputError
from training.run_directory import BranchDirectory, folder_hash, read_json


def check_same_start(branches: Sequence[Path], start: Path | None) -> None:
    """Check that all branches that record their start record the same, and ``start``'s where it is given.

    Model folders from elsewhere record none, and are taken at their word.

    Raises:
        InputError: two starts, or a spec that cannot be read.
    """
    recorded = [(branch, sha256) for branch in branches if (sha256 := _recorded_start(branch)) is not None]
    if start is not None:
        recorded.insert(0, (start, folder_hash(start)))
    for branch, sha256 in recorded[1:]:
        first, expected = recorded[0]
        if sha256 != expected:
            what = "is not" if start is not None else "is not that of"
            raise InputError(
                f"the start of {branch} ({sha256[:12]}) {what} {first} ({expected[:12]}); "
                "merge branches of one start only"
            )


def _recorded_start(model: Path) -> str | None:
    """The hash in ``spec.json`` beside the folder ``model`` of a branch; None where there is no such file."""
    path = BranchDirectory(model.resolve().parent).spec
    if not path.is_file():
        return None
    spec: Any = read_json(path)
    start = spec.get("start") if isinstance(spec, dict) else None
    if not isinstance(start, str):
        raise InputError(f"{path} does not say where the branch began; copy it again with its model, or remove it")
    return start
