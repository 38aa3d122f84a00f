"""Conflicts between tasks, from the gradient passes of all: cosines with their reliability and error bars.

The pass of a task is a file of its own, keyed by everything it depends on; adding a task to a mixture costs that task's
pass and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit_theory.conflict import ConflictEstimate, estimate_conflicts
from training.config import ConflictSettings, StartSettings
from training.errors import InputError
from training.mixture import Task
from training.run_directory import RunDirectory, content_hash, write_json
from training.seeds import child_seed


def sketch_seed(seed: int) -> int:
    """The seed of every sketch of a run; the same for gradients and displacements, so that they can be compared."""
    return child_seed(seed, "sketch")


def pass_key(task: Task, start_sha256: str, start: StartSettings, settings: ConflictSettings, seed: int) -> str:
    """SHA-256 of everything that the pass of a task depends on."""
    chosen = [
        start_sha256,
        task.hashes["calibration"],
        task.hashes["train"],
        start.model_dump(),
        settings.model_dump(),
        seed,
    ]
    return content_hash(chosen)


@dataclass(frozen=True, slots=True)
class MeasuredConflicts:
    """The passes of all tasks, and the estimate they give.

    Attributes:
        tasks: names, in the mixture's order.
        estimate: cosines, reliability, standard errors.
        sums: per task [n_microbatches, k] float32.
        counts: per task [n_microbatches] answer tokens.
        train_tokens: [n_tasks] tokens of the training split.
        train_samples: [n_tasks] rows of the training split.
    """

    tasks: tuple[str, ...]
    estimate: ConflictEstimate
    sums: tuple[NDArray[np.float32], ...]
    counts: tuple[NDArray[np.int64], ...]
    train_tokens: NDArray[np.int64]
    train_samples: NDArray[np.int64]


def summarise_conflicts(
    run: RunDirectory, tasks: Sequence[Task], settings: ConflictSettings, seed: int
) -> MeasuredConflicts:
    """Estimate cosines from the passes of all tasks, and write ``conflicts.json``."""
    passes: list[dict[str, Any]] = []
    for task in tasks:
        with np.load(run.sketches(task.name)) as file:
            passes.append({name: file[name] for name in ("sums", "counts", "participation", "train_tokens")})
    sums = tuple(entry["sums"] for entry in passes)
    counts = tuple(entry["counts"] for entry in passes)
    try:
        estimate = estimate_conflicts(sums, counts)
    except ValueError as error:
        raise InputError(
            f"conflicts cannot be estimated: {error} (tasks are numbered in the mixture's order)"
        ) from None
    needed = estimate.micro_batches_for(0.95) * settings.micro_batch_examples
    train_tokens = np.array([int(entry["train_tokens"]) for entry in passes])
    train_samples = np.array([task.counts["train"] for task in tasks])
    names = tuple(task.name for task in tasks)
    record = {
        "tasks": names,
        "mode": settings.mode,
        "size": sums[0].shape[1],
        "sketch_seed": sketch_seed(seed),
        "cosine": estimate.cosine.tolist(),
        "corrected": estimate.corrected.tolist(),
        "standard_error": estimate.standard_error.tolist(),
        "task_standard_error": estimate.task_standard_error.tolist(),
        "reliability": estimate.reliability.tolist(),
        "examples_for_reliability_0.95": [round(float(n)) if np.isfinite(n) else None for n in needed],
        "participation_ratio": [float(np.median(entry["participation"])) for entry in passes],
        "norms": estimate.norms.tolist(),
        "answer_tokens": [int(count.sum()) for count in counts],
        "train_tokens": train_tokens.tolist(),
        "train_samples": train_samples.tolist(),
    }
    write_json(run.conflicts, record)
    return MeasuredConflicts(names, estimate, sums, counts, train_tokens, train_samples)
