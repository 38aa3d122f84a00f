"""NPZ files that carry the key of what they were made from, so that a stage knows whether its output still stands."""

from pathlib import Path
from typing import Any

import numpy as np

from training.intact import is_intact_npz
from training.run_directory import replacing


def save_keyed(path: Path, key: str, **arrays: Any) -> None:
    """Write ``arrays`` and ``key`` to ``path``, atomically."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, key=np.array(key), **arrays)


def stored_key(path: Path) -> str | None:
    """The key of the file, or None where there is none or any of its arrays is damaged: its stage then runs again."""
    if not is_intact_npz(path):
        return None
    try:
        with open(path, "rb") as raw, np.load(raw) as file:  # NumPy leaves a damaged file open
            return str(file["key"])
    except Exception:  # a ZIP of other things surfaces as many types; each means that there is no key
        return None
