"""The gradient pass of one task, as a job: load, measure, write ``conflicts/TASK.npz``."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from training.config import ConflictSettings, StartSettings
from training.conflicts.gradients import task_gradients
from training.conflicts.measure import sketch_seed
from training.conflicts.sketch import SignedSketch, Stride
from training.errors import InputError
from training.keyed_file import save_keyed
from training.mixture import Mixture
from training.model.batching import encode
from training.model.load import choose_trainable, context_length, load_model, load_tokenizer, weight_dtype
from training.run_directory import RunDirectory
from training.seeds import child_generator

STRIDE_HALVES = 2
"""Uncompressed strides are large, so their micro-batches are kept as two halves: enough for a reliability."""


def measure_task(
    root: Path,
    name: str,
    key: str,
    start: StartSettings,
    settings: ConflictSettings,
    seed: int,
    device: str,
    report: Callable[[int], None],
    stopping: Callable[[], bool],
) -> None:
    """Make the pass of one task in the run directory ``root`` and write ``conflicts/TASK.npz``.

    Raises:
        InputError: data that does not fit the model, or a gradient that is not finite.
    """
    run = RunDirectory(root)
    task = Mixture.load(run.mixture).task(name)
    model = load_model(run.start, start.precision, torch.device(device))
    trainable = choose_trainable(model, start.trainable)
    tokenizer = load_tokenizer(run.start)
    limit = context_length(model.config, start.max_length)
    examples = encode(task.rows("calibration"), tokenizer, limit, name)
    training_examples = encode(task.rows("train"), tokenizer, limit, name)
    batches = random_micro_batches(len(examples), settings.micro_batch_examples, seed, name)
    if settings.mode == "paper":
        compression = Stride({name: parameter.numel() for name, parameter in trainable.items()}, settings.stride)
    else:
        compression = SignedSketch(settings.sketch_size, sketch_seed(seed), model.device, weight_dtype(start.precision))
    try:
        gradients = task_gradients(
            model,
            trainable,
            examples,
            batches,
            compression,
            objective=start.objective,
            precision=start.precision,
            group_sketch_size=settings.group_sketch_size,
            seed=sketch_seed(seed),
            keep=STRIDE_HALVES if settings.mode == "paper" else len(batches),
            report=report,
            stopping=stopping,
        )
    except InputError as error:
        raise InputError(f"task {name!r}: {error}") from None
    save_keyed(
        run.sketches(name),
        key,
        sums=gradients.sums,
        counts=gradients.counts,
        norms=gradients.norms,
        participation=gradients.participation,
        groups=np.array(gradients.groups),
        group_sums=gradients.group_sums,
        train_tokens=sum(map(len, training_examples)),
    )


def random_micro_batches(examples: int, size: int, seed: int, task: str) -> list[list[int]]:
    """Random groups of about ``size`` examples, equal up to one, at least two."""
    order = child_generator(seed, "micro-batches", task).permutation(examples)
    return [part.tolist() for part in np.array_split(order, max(2, round(examples / size)))]
