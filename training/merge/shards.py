"""Which tensor goes to which weight file, and the index that says so."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from training.merge.model_folder import SINGLE_FILE
from training.merge.safetensors_file import StoredTensor

MAX_SHARD_BYTES = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Shard:
    """One weight file to be written and its tensors, in order."""

    file: str
    tensors: Sequence[StoredTensor]


def split_into_shards(tensors: Iterable[StoredTensor], max_bytes: int = MAX_SHARD_BYTES) -> list[Shard]:
    """Fill one file after the other up to ``max_bytes``; a larger tensor gets a file of its own.

    Tensors come widest element first and by name within, the order of the safetensors library.
    """
    groups: list[list[StoredTensor]] = [[]]
    room = max_bytes
    for tensor in sorted(tensors, key=lambda tensor: (-tensor.element.storage.itemsize, tensor.name)):
        if groups[-1] and tensor.nbytes > room:
            groups.append([])
            room = max_bytes
        groups[-1].append(tensor)
        room -= tensor.nbytes
    if len(groups) == 1:
        return [Shard(SINGLE_FILE, groups[0])]
    return [
        Shard(f"model-{number:05d}-of-{len(groups):05d}.safetensors", group) for number, group in enumerate(groups, 1)
    ]


def index(shards: Sequence[Shard]) -> dict[str, Any]:
    """Content of ``model.safetensors.index.json``; ``total_size`` counts tensor bytes, without headers."""
    return {
        "metadata": {"total_size": sum(tensor.nbytes for shard in shards for tensor in shard.tensors)},
        "weight_map": {tensor.name: shard.file for shard in shards for tensor in shard.tensors},
    }
