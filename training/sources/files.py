"""Tasks from local JSONL and Parquet files: one task per file."""

import json
from collections.abc import Iterator
from glob import glob, has_magic
from pathlib import Path

import pyarrow.lib
import pyarrow.parquet

from training.config import FileTask, checked_name
from training.errors import InputError
from training.sources.row import Row, row_from_record

SUFFIXES = (".jsonl", ".parquet")


def expand_files(task: FileTask) -> list[FileTask]:
    """One task per file that ``task.path`` names: a file, a folder of files, or a glob; names default to file stems.

    Raises:
        InputError: nothing matches, a suffix is unknown, or a file name cannot be a task name.
    """
    path = Path(task.path)
    if path.is_dir():
        found = sorted(entry for entry in path.iterdir() if entry.suffix in SUFFIXES)
    elif has_magic(task.path) and not path.exists():
        found = sorted(Path(match) for match in glob(task.path))
    else:
        found = [path]
    if not found:
        raise InputError(f"{task.path}: no {' or '.join(SUFFIXES)} file there; correct mixture.tasks")
    if len(found) > 1 and (task.name or task.test_path):
        raise InputError(f"{task.path}: {len(found)} files cannot share one name or test_path; list them one by one")
    return [_one_file(task, file) for file in found]


def _one_file(task: FileTask, file: Path) -> FileTask:
    for candidate in (file, *([Path(task.test_path)] if task.test_path else [])):
        if candidate.suffix not in SUFFIXES:
            raise InputError(f"{candidate}: only {' and '.join(SUFFIXES)} files can be tasks")
        if not candidate.is_file():
            raise InputError(f"{candidate}: no such file; correct mixture.tasks")
    try:
        name = task.name or checked_name(file.stem)
    except ValueError as error:
        raise InputError(f"{file}: {error}; or give the task a name in the recipe") from None
    return task.model_copy(update={"path": str(file), "name": name})


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of one file, in file order.

    Raises:
        InputError: the file or a row of it cannot be read; the message names file and line.
    """
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _json_row(line, f"{path}:{number}")


def _json_row(line: bytes, where: str) -> Row:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 text ({error.reason}); convert the file") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON ({error}); one JSON object per line") from None
    return row_from_record(record, where)


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        table = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in table.iter_batches():
            for record in batch.to_pylist():
                number += 1
                yield row_from_record(record, f"{path}:{number}")
    except (pyarrow.lib.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable Parquet file ({error}); write it again") from None
