"""How far apart two models on disk are."""

import math
from pathlib import Path

import numpy as np

from training.merge.agreement import check_start
from training.merge.model_folder import open_model
from training.merge.safetensors_file import StoredTensor

CHUNK = 2**18  # elements


def distance(model: Path, start: Path) -> float:
    """Euclidean distance of a model's weights from those of its start, summed in float64 and read chunk by chunk.

    Raises:
        InputError: the start lacks a tensor of the model, or holds it in another shape.
    """
    with open_model(model) as mine, open_model(start) as theirs:
        check_start(start, theirs, model, mine)
        return math.sqrt(math.fsum(_squared(tensor, theirs[name]) for name, tensor in mine.items()))


def _squared(mine: StoredTensor, theirs: StoredTensor) -> float:
    if mine.element.accumulator is None:
        return 0.0
    total = 0.0
    for begin in range(0, mine.count, CHUNK):
        parts = []
        for tensor in (mine, theirs):
            stored = np.empty(min(CHUNK, tensor.count - begin), tensor.element.storage)
            tensor.read(begin, stored)
            parts.append(stored.astype(np.float64))
        difference = parts[0] - parts[1]
        total += float(difference @ difference)
    return total
