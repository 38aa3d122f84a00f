"""Stages of a run with their times, as they end: what the cost of a run is read from."""

import contextlib
import time
from collections.abc import Iterator

from training.branches.metrics import append_line
from training.progress import Progress
from training.run_directory import RunDirectory


class Events:
    """Writes ``metrics/events.jsonl`` and one line per stage to the console."""

    def __init__(self, run: RunDirectory, progress: Progress) -> None:
        self._path, self._progress = run.events, progress
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as stage ``name``; a stage that fails or is stopped is recorded as such."""
        began = time.monotonic()
        outcome = "stopped"
        try:
            yield
            outcome = "done"
        finally:
            self.seconds[name] = round(time.monotonic() - began, 3)
            append_line(self._path, stage=name, outcome=outcome, seconds=self.seconds[name], at=time.time())
            self._progress.line(f"{name:<12} {outcome:<8} {self.seconds[name]:>8.1f} s")
