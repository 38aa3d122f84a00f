"""Which rows a branch trains on, and in which order: pure functions of its spec."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from training.branches.spec import BranchSpec
from training.seeds import child_generator

Strata = tuple[tuple[range, ...], ...]
"""Per stratum the positions of its tasks' examples."""


def rows_of_share(spec: BranchSpec, task: str, rows: int) -> list[int]:
    """Positions, ascending, of the rows of a task with ``rows`` rows that the branch sees.

    Shares of one seed and number permute a task's rows alike and take every so many-th.
    """
    if spec.share is None:
        return list(range(rows))
    order = child_generator(spec.share.seed, "shares", task).permutation(rows)
    return sorted(order[spec.share.index :: spec.share.of].tolist())


def step_indices(spec: BranchSpec, step: int, rows: Sequence[int]) -> list[int]:
    """Indices of the examples of a step: a pure function of seed, epoch and position.

    The epochs' orders follow one another without a break, so every step but the last has the full batch.

    Args:
        spec: of the branch.
        step: from 0.
        rows: examples that the branch has of each of its tasks [n_tasks], in the spec's order.
    """
    examples = sum(rows)
    first = step * spec.settings.batch_size
    positions = range(first, min(first + spec.settings.batch_size, spec.examples))
    strata = _strata(spec, rows)
    orders = {
        epoch: _epoch_order(spec.seed, epoch, examples, strata) for epoch in {place // examples for place in positions}
    }
    return [int(orders[place // examples][place % examples]) for place in positions]


def _strata(spec: BranchSpec, rows: Sequence[int]) -> Strata:
    if not spec.strata:
        return ()
    ends = accumulate(rows)
    examples = {task: range(end - count, end) for task, count, end in zip(spec.tasks, rows, ends, strict=True)}
    return tuple(tuple(examples[task] for task in stratum) for stratum in spec.strata)


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, examples: int, strata: Strata) -> NDArray[np.int64]:
    generator = child_generator(seed, "order", epoch)
    if not strata:
        return generator.permutation(examples)
    # Example i of a stratum of n, shuffled, stands at (i + u)/n of the epoch. In every stretch of it a stratum then has
    # its share to within one, and as u is the same in all epochs, a stretch may reach from one into the next.
    offsets = child_generator(seed, "strata").random(len(strata))
    members, places = [], []
    for blocks, offset in zip(strata, offsets, strict=True):
        shuffled = generator.permutation(np.concatenate([np.arange(block.start, block.stop) for block in blocks]))
        members.append(shuffled)
        places.append((np.arange(len(shuffled)) + offset) / len(shuffled))
    return np.concatenate(members)[np.argsort(np.concatenate(places), kind="stable")]
