"""The rows that a branch trains on, as token ids."""

from pathlib import Path
from typing import Any

from training.branches.data_order import rows_of_share
from training.branches.spec import BranchSpec
from training.errors import InputError
from training.mixture import Mixture
from training.model.batching import Example, encode


def branch_examples(spec: BranchSpec, mixture: Path, tokenizer: Any, limit: int) -> dict[str, list[Example]]:
    """The examples that the branch sees of each of its tasks, from the folder ``mixture``.

    Raises:
        InputError: a task there is not the one of the spec, or a row does not fit in ``limit`` tokens.
    """
    tasks = Mixture.load(mixture)
    examples: dict[str, list[Example]] = {}
    for name, expected in spec.tasks.items():
        task = tasks.task(name)
        if task.hashes.get(spec.split) != expected:
            raise InputError(
                f"task {name!r} in {mixture} is not the one this branch was specified for; copy that mixture"
            )
        rows = task.rows(spec.split)
        seen = [rows[position] for position in rows_of_share(spec, name, len(rows))]
        examples[name] = encode(seen, tokenizer, limit, name)
    return examples
