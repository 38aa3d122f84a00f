"""Whether what a run left behind is as it was written: a damaged file is told from a good one before it is used.

Writes are atomic, so damage comes from outside: a copy cut short, a failing disk, an editor.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.errors import InputError
from training.run_directory import content_hash, file_hash, folder_hash, write_json

SEAL = "content_sha256"


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with the hash of its content, atomically."""
    write_json(path, {**value, SEAL: content_hash(value)})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """The object that :func:`write_sealed` wrote; None where there is none or its content has changed."""
    try:
        value = json.loads(path.read_bytes())
        seal = value.pop(SEAL)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    try:
        return value if content_hash(value) == seal else None
    except (ValueError, RecursionError):  # a number damaged into infinity
        return None


def model_hashes(folder: Path) -> dict[str, str]:
    """What identifies every file of a model folder: hash of its weights, and of everything beside them.

    Raises:
        InputError: the folder holds no weights.
    """
    return {"sha256": folder_hash(folder), "companions_sha256": companions_hash(folder)}


def companions_hash(folder: Path) -> str:
    """SHA-256 over the names and hashes of everything beside the weights of a model folder."""
    companions = sorted(path for path in folder.iterdir() if path.suffix != ".safetensors")
    return content_hash([[path.name, file_hash(path)] for path in companions])


def is_intact_model(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether the folder holds exactly the files whose :func:`model_hashes` the ``record`` keeps."""
    try:
        return all(record.get(key) == value for key, value in model_hashes(folder).items())
    except (InputError, OSError):
        return False


def is_intact_npz(path: Path) -> bool:
    """Whether there is an NPZ file whose arrays all have their check sums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # damage surfaces as many types, from zipfile's to zlib's
        return False
