"""A model as a Hugging Face folder: one weight file, or shards with an index, beside configuration and tokenizer."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from training.errors import InputError
from training.merge.safetensors_file import StoredTensor, read_tensors
from training.merge.tied_head import without_tied_head
from training.run_directory import read_json

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
WEIGHT_SUFFIXES = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf", ".onnx"}


@contextlib.contextmanager
def open_model(folder: Path) -> Iterator[dict[str, StoredTensor]]:
    """Open the weight files of a model folder for the block and yield its tensors by name, each once.

    Where both layouts are present the single file counts, as in transformers.

    Raises:
        InputError: weight files, index or header are missing, damaged or contradict one another.
    """
    with contextlib.ExitStack() as files:
        tensors: dict[str, StoredTensor] = {}
        for shard, listed in _shards(folder).items():
            if not (folder / shard).is_file():
                raise InputError(f"{folder} lacks the weight file {shard}; copy or save the model again")
            stored = read_tensors(files.enter_context(open(folder / shard, "rb", buffering=0)))
            if listed is not None and (different := listed ^ stored.keys()):
                raise InputError(
                    f"{folder / INDEX_FILE} and {shard} disagree about tensor {min(different)!r}; save the model again"
                )
            tensors |= stored
        yield without_tied_head(folder, tensors)


def _shards(folder: Path) -> dict[str, set[str] | None]:
    """Weight files of a folder with the tensors an index lists for each; None where there is no index."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give a model folder written by save_pretrained")
    if (folder / SINGLE_FILE).exists():
        return {SINGLE_FILE: None}
    if not (folder / INDEX_FILE).exists():
        raise InputError(f"{folder} holds neither {SINGLE_FILE} nor {INDEX_FILE}; save the model with save_pretrained")
    index = read_json(folder / INDEX_FILE)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f"{folder / INDEX_FILE} has no weight_map; save the model again")
    shards: dict[str, set[str] | None] = {}
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise InputError(f"{folder / INDEX_FILE} names shard {shard!r} outside its folder; save the model again")
        listed = shards.setdefault(shard, set())
        assert listed is not None
        listed.add(name)
    return shards


def copy_companions(source: Path, target: Path) -> None:
    """Copy what stands beside the weights (configuration, tokenizer, chat template) from one folder to another."""
    for path in sorted(source.iterdir()):
        is_weights = path.suffix in WEIGHT_SUFFIXES or path.name.endswith(".index.json")
        if path.is_file() and not is_weights:
            shutil.copyfile(path, target / path.name)
