"""Where a merged model comes from: names and hashes that identify its inputs on any machine."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from pathlib import Path

from training.run_directory import content_hash, file_hash


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The fewest last parts of the paths that tell them apart: what is published shows no more of a machine.

    >>> distinct_names([Path("/runs/a/model"), Path("/runs/b/model")])
    ['a/model', 'b/model']
    """
    parts = [folder.resolve().parts[1:] for folder in folders]
    length = 1
    while len({own[-length:] for own in parts}) < len(set(parts)):
        length += 1
    return ["/".join(own[-length:]) for own in parts]


def weight_hashes(models: Iterable[Iterable[Path]], pool: Executor) -> list[dict[str, str]]:
    """SHA-256 (hex) of the weight files of each model, by file name in name order."""
    files = [sorted(set(model)) for model in models]
    hashes = [pool.map(file_hash, model) for model in files]  # all in flight before the first is awaited
    return [{path.name: own for path, own in zip(*pair, strict=True)} for pair in zip(files, hashes, strict=True)]


def weights_hash(files: dict[str, str]) -> str:
    """One SHA-256 (hex) for :func:`weight_hashes` of a model, equal to ``run_directory.folder_hash``."""
    return content_hash([list(item) for item in sorted(files.items())])
