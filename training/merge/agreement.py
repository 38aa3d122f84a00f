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
