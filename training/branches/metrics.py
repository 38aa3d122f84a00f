"""Metrics as JSON lines: one object per line, appended as it happens."""

import json
import os
from pathlib import Path
from typing import Any

from training.run_directory import replacing


def append_line(path: Path, **values: Any) -> None:
    """Append one object; NaN and infinity are written as null, which every JSON reader accepts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clean = {key: None if isinstance(value, float) and value - value != 0 else value for key, value in values.items()}
    line = (json.dumps(clean) + "\n").encode()
    with open(path, "ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            written = file.write(line)
            if written < len(line):  # the disk is full, and the next attempt says so
                file.write(line[written:])
        except OSError:
            file.truncate(end)
            raise


def keep_lines(path: Path, count: int) -> None:
    """Cut the file to its first ``count`` lines: what a killed process wrote after its checkpoint happens again."""
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        with replacing(path) as temporary:
            temporary.write_bytes(b"".join(lines[:count]))
