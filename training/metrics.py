"""Metrics as JSON lines: one object per line, appended as it happens."""

import json
from pathlib import Path
from typing import Any

from training.run_directory import write_text


def append_line(path: Path, **values: Any) -> None:
    """Append one object; NaN and infinity are written as null, which every JSON reader accepts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clean = {key: None if isinstance(value, float) and value - value != 0 else value for key, value in values.items()}
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(clean) + "\n")


def keep_lines(path: Path, count: int) -> None:
    """Cut the file to its first ``count`` lines: what a killed process wrote after its checkpoint happens again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        write_text(path, "".join(lines[:count]))
