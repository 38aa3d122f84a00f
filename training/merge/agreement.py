"""Which folders can be merged at all: those that hold the same tensors."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from training.errors import InputError
from training.merge.safetensors_file import StoredTensor


def check_agreement(folders: Sequence[Path], models: Sequence[Mapping[str, StoredTensor]]) -> None:
    """Check that all models have the same tensor names, dtypes and shapes.

    Raises:
        InputError: some do not; names the first tensor and folder that differ from the first folder.
    """
    for folder, model in zip(folders[1:], models[1:], strict=True):
        if different := model.keys() ^ models[0].keys():
            name = min(different)
            holder, other = (folder, folders[0]) if name in model else (folders[0], folder)
            raise InputError(f"{other} lacks tensor {name!r}, which {holder} holds; merge branches of one start only")
        for name, tensor in models[0].items():
            mine, theirs = (f"{t.element.name} {list(t.shape)}" for t in (tensor, model[name]))
            if mine != theirs:
                raise InputError(
                    f"tensor {name!r} is {mine} in {folders[0]} but {theirs} in {folder}; "
                    "save the branches of one start in one dtype"
                )


def check_start(start: Path, held: Mapping[str, StoredTensor], branch: Path, model: Mapping[str, StoredTensor]) -> None:
    """Check that the start holds the branches' tensors in their shapes; its floating-point type may be another.

    Many models are published in half precision and tuned in single. What the start holds besides does not matter.

    Raises:
        InputError: it does not; names the first tensor.
    """
    for name, tensor in model.items():
        if name not in held:
            raise InputError(f"{start} lacks tensor {name!r}, which {branch} holds; give the start of these branches")
        own = held[name]
        floats = (own.element.accumulator is None, tensor.element.accumulator is None)
        if own.shape != tensor.shape or floats[0] != floats[1]:
            mine, theirs = (f"{t.element.name} {list(t.shape)}" for t in (tensor, own))
            raise InputError(
                f"tensor {name!r} is {mine} in {branch} but {theirs} in {start}; give the start of these branches"
            )
