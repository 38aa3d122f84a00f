"""Commands in processes of their own, what a refused one must say, and what it must leave."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from training.run_directory import folder_hash

CHANGES_FROM_RUN_TO_RUN = ("seconds", "longest_seconds")


def training(*arguments: object, **environment: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **environment)


def refusal(*arguments: object, **environment: Any) -> str:
    """The one line of a command that is refused."""
    done = training(*arguments, **environment)
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


def results(run: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """What two runs of one recipe agree in: the table but for its times, and the weights of every arm."""
    table = json.loads((run / "summary.json").read_text())["arms"]
    rows = [{key: value for key, value in row.items() if key not in CHANGES_FROM_RUN_TO_RUN} for row in table]
    return rows, {path.parent.name: folder_hash(path) for path in sorted(run.glob("arms/*/model"))}
