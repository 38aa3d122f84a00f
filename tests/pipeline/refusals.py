"""Commands, what a refused one must say, and what it must leave."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from tests.forked_workers import forked_workers
from training.__main__ import main
from training.run_directory import folder_hash

CHANGES_FROM_RUN_TO_RUN = ("seconds", "longest_seconds")


def training_in_its_own_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def training(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The same in this process, which has imported torch already, with workers forked from one that has."""
    command, code = ["training", *map(str, arguments)], 0
    handler = signal.getsignal(signal.SIGTERM)
    printed, complained = io.StringIO(), io.StringIO()
    try:
        with (
            mock.patch.dict(os.environ),
            mock.patch.object(sys, "argv", command),
            forked_workers(),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(complained),
        ):
            main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        signal.signal(signal.SIGTERM, handler)
    return subprocess.CompletedProcess(command, code, printed.getvalue(), complained.getvalue())


def refusal(*arguments: object) -> str:
    """The one line of a command that is refused."""
    done = training(*arguments)
    return checked_line(done.returncode, done.stderr)


def checked_line(code: object, stderr: str) -> str:
    assert code == 2, stderr
    assert stderr.startswith("error: ")
    assert stderr.endswith("\n")
    assert len(stderr.splitlines()) == 1, stderr
    return stderr.rstrip("\n")


def leftovers(folder: Path) -> list[Path]:
    """What stands under a temporary name; JSON and JSON lines under a final name are whole."""
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())
    for path in folder.rglob("*.jsonl"):
        for line in path.read_text().splitlines():
            json.loads(line)
    return [path for path in folder.rglob("*") if path.name.endswith(".tmp")]


def results(run: Path) -> tuple[list[dict[str, Any]], Any, dict[str, str]]:
    """What two runs of one recipe agree in: the table but for its times, retention, and the weights of every arm."""
    summary = json.loads((run / "summary.json").read_text())
    rows = [{key: value for key, value in row.items() if key not in CHANGES_FROM_RUN_TO_RUN} for row in summary["arms"]]
    return (
        rows,
        summary["retention"],
        {path.parent.name: folder_hash(path) for path in sorted(run.glob("arms/*/model"))},
    )
