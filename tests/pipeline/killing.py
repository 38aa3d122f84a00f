"""Killing a run of the `smoke` recipe in a chosen stage, and what the run that continues it must still end with."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import load_file

from training.run_directory import LEFT_BEHIND, RunDirectory, folder_hash

Target = Literal["driver", "worker", "group", "SIGTERM", "SIGINT"]
Outcome = dict[str, Any]

STAGES = ("mixture", "start", "conflicts", "partitions", "branches", "merge", "evaluation", "summary")
STAGES_WITH_WORKERS = STAGES[1:-1]
POLL_SECONDS = 0.01
LIMIT_SECONDS = 300.0
SOONER = (1.0, 0.3, 0.0)
HOW_TO_CONTINUE = "run the same command to continue"
# A shell has what it starts in the background ignore Ctrl-C, this process and its children included.
HEAR_CTRL_C = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)
CHANGES_FROM_RUN_TO_RUN = ("seconds", "longest_seconds")


@dataclass(frozen=True, slots=True)
class Kill:
    """What dies and when.

    Attributes:
        stage: the stage in which.
        target: the driver, one worker, the whole process group (SIGKILL each); or what asks a run to end: SIGTERM to
            the driver, SIGINT to the whole group, as Ctrl-C does.
        moment: how far into the stage, as a share of the time that it takes undisturbed.
    """

    stage: str
    target: Target
    moment: float


@dataclass(frozen=True, slots=True)
class Death:
    """What a kill did.

    Attributes:
        stage: where the run was; later than asked for when the stage ended first. None when nothing was left to kill.
        target: what was to die.
        code: exit code of the driver.
        stderr: its last words.
        workers: the processes that worked for it.
        files: what the run directory held then, as paths below it.
    """

    stage: str | None
    target: Target
    code: int
    stderr: tuple[str, ...]
    workers: frozenset[int]
    files: frozenset[Path]


class Attempt:
    """One start of the command, in a process group of its own; a context manager that leaves nothing running."""

    def __init__(self, out: Path, settings: Sequence[str] = ()) -> None:
        self._out, self._run = out, RunDirectory(out)
        self._events_before = len(_events(self._run))
        self._environment_before = _changed(self._run.environment)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 closed on exit
        command = [
            sys.executable,
            "-c",
            HEAR_CTRL_C,
            sys.executable,
            "-m",
            "training",
            "run",
            "smoke",
            "--out",
            str(out),
        ]
        changes = [f"--set={setting}" for setting in ("branch.checkpoint_seconds=0", *settings)]
        self.process = subprocess.Popen(
            command + changes, stdout=subprocess.DEVNULL, stderr=self._errors, start_new_session=True
        )

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._errors.close()

    @property
    def stage(self) -> str | None:
        """The stage that runs; None before the first and after the last."""
        done = len(_events(self._run)) - self._events_before
        if done == 0 and _changed(self._run.environment) == self._environment_before:
            return None
        return STAGES[done] if done < len(STAGES) else None

    def reaches(self, stage: str) -> bool:
        """Wait until the run is in ``stage`` or beyond; False when it ends before."""
        limit = time.monotonic() + LIMIT_SECONDS
        while self.process.poll() is None:
            now = self.stage
            if now is not None and STAGES.index(now) >= STAGES.index(stage):
                return True
            assert time.monotonic() < limit, f"{stage} was not reached within {LIMIT_SECONDS} s; the run is in {now}"
            time.sleep(POLL_SECONDS)
        return False

    def die(self, kill: Kill, seconds: float, choose: random.Random) -> Death:
        """Carry out the kill in a stage that takes ``seconds`` undisturbed, and wait for the driver's end."""
        if self.reaches(kill.stage):
            self._wait(kill.moment * seconds)
        stage, workers = self._hold()
        while kill.target == "worker" and not workers and stage in STAGES_WITH_WORKERS:
            self.process.send_signal(signal.SIGCONT)  # none is born yet
            time.sleep(POLL_SECONDS)
            stage, workers = self._hold()
        if kill.target == "worker" and not workers:
            stage = None
        if stage is not None:
            self._send(kill.target, sorted(workers), choose)
        self.process.send_signal(signal.SIGCONT)
        return Death(stage, kill.target, *self.end(), workers, files(self._out))

    def end(self) -> tuple[int, tuple[str, ...]]:
        """Wait for the driver's end; its exit code and the lines of its stderr, but for the one that ends a ``^C``."""
        code = self.process.wait(LIMIT_SECONDS)
        self._errors.seek(0)
        return code, tuple(filter(None, self._errors.read().splitlines()))

    def workers(self) -> frozenset[int]:
        """Process ids of the workers."""
        return frozenset(pid for pid, parent in _worker_processes().items() if parent == self.process.pid)

    def _hold(self) -> tuple[str | None, frozenset[int]]:
        """Stop the driver in its tracks, so that its stage and its workers are those that a signal then meets."""
        self.process.send_signal(signal.SIGSTOP)
        workers = self.workers()
        return self.stage if self.process.poll() is None else None, workers

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            time.sleep(min(POLL_SECONDS, max(0.0, until - time.monotonic())))

    def _send(self, target: Target, workers: list[int], choose: random.Random) -> None:
        if target == "group":
            os.killpg(self.process.pid, signal.SIGKILL)
        elif target == "SIGINT":
            os.killpg(self.process.pid, signal.SIGINT)
        elif target == "worker":
            os.kill(choose.choice(workers), signal.SIGKILL)
        else:
            self.process.send_signal(signal.SIGTERM if target == "SIGTERM" else signal.SIGKILL)


def files(out: Path) -> frozenset[Path]:
    """What a run directory holds under final names, as paths below it."""
    kept = (path for path in out.rglob("*") if path.is_file() and not LEFT_BEHIND.fullmatch(path.name))
    return frozenset(path.relative_to(out) for path in kept)


def first_lacking(undisturbed: Path, found: frozenset[Path]) -> Path | None:
    """What a run that had ``found`` was about to write next, by the order in which the undisturbed one was written."""
    # A model is left out, because one that is linked is as old as what it is linked to.
    wanted = [path for path in files(undisturbed) if path.parent.name != "model"]
    wanted.sort(key=lambda path: (undisturbed / path).stat().st_mtime_ns)
    return next((path for path in wanted if path not in found), None)


def alive(workers: frozenset[int]) -> frozenset[int]:
    """Those of the worker processes that still run."""
    return workers & _worker_processes().keys()


def _worker_processes() -> dict[int, int]:
    """Parents of all worker processes of this machine, by process id; a zombie has no arguments and is none."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines() if "multiprocessing.spawn" in line]
    return {int(pid): int(parent) for pid, parent, _ in rows}


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _events(run: RunDirectory) -> list[dict[str, Any]]:
    if not run.events.exists():
        return []
    whole, _, _ = run.events.read_text().rpartition("\n")
    return [event for event in map(json.loads, whole.splitlines()) if event["outcome"] == "done"]


def stage_seconds(undisturbed: Path) -> dict[str, float]:
    """How long each stage took in the first run of a run directory."""
    return {event["stage"]: event["seconds"] for event in _events(RunDirectory(undisturbed))[: len(STAGES)]}


def kill_until_done(
    out: Path, kills: Sequence[Kill], seconds: dict[str, float], choose: random.Random, settings: Sequence[str] = ()
) -> list[Death]:
    """Start the command, kill it as told, start it again, and so on; then let it end.

    A kill that comes after its stage has ended is tried again earlier, and then right at the stage's beginning.

    Returns:
        The deaths, in order.

    Raises:
        AssertionError: a run died otherwise than it may, a worker outlived the start of the next run, or the last run
            left something half-written.
    """
    deaths: list[Death] = []
    for kill in kills:
        for share in SOONER:
            moment = kill.moment * share
            deaths.append(_death(out, Kill(kill.stage, kill.target, moment), seconds, choose, deaths, settings))
            if deaths[-1].stage in (kill.stage, None):
                break
    with Attempt(out, settings) as attempt:
        _check_orphans(attempt, deaths)
        code, stderr = attempt.end()
    assert (code, stderr) == (0, ()), f"the last run ended with {code}: {stderr}"
    leftovers = [path for path in out.rglob("*") if LEFT_BEHIND.fullmatch(path.name) or path.name.startswith("checkp")]
    assert not [path for path in leftovers if not path.is_dir() or any(path.iterdir())], leftovers
    return deaths


def _death(
    out: Path,
    kill: Kill,
    seconds: dict[str, float],
    choose: random.Random,
    earlier: list[Death],
    settings: Sequence[str],
) -> Death:
    with Attempt(out, settings) as attempt:
        _check_orphans(attempt, earlier)
        death = attempt.die(kill, seconds[kill.stage], choose)
    _check_death(kill, death)
    return death


def _check_orphans(attempt: Attempt, deaths: list[Death]) -> None:
    if deaths and attempt.reaches(STAGES[0]):
        left = alive(deaths[-1].workers)
        assert not left, f"workers {sorted(left)} outlived their driver and the start of the next one"


def _check_death(kill: Kill, death: Death) -> None:
    if death.stage is None or (kill.target == "worker" and death.code == 0):  # which may have done its last job
        assert (death.code, death.stderr) == (0, ()), f"{kill}: {death}"
    elif kill.target in ("driver", "group"):
        assert death.code == -signal.SIGKILL, f"{kill}: {death}"
    else:
        assert death.code == 130, f"{kill}: {death}"
        assert len(death.stderr) == 1, f"{kill}: {death}"
        assert death.stderr[0].startswith("stopped: "), f"{kill}: {death}"
        assert death.stderr[0].endswith(HOW_TO_CONTINUE), f"{kill}: {death}"


def outcome(out: Path) -> Outcome:
    """What must not depend on how often a run was killed.

    Those are the weights of every arm, what was fitted and measured for them, every measured number, and the table.
    """
    run = RunDirectory(out)
    found: Outcome = {f"weights of {model.parent.name}": folder_hash(model) for model in out.glob("arms/*/model")}
    for path in (*out.glob("evaluation/*.npz"), *out.glob("retention/*.npz")):
        with np.load(path) as file:
            name = path.relative_to(out)
            found |= {f"{name}: {key}": (file[key].dtype.str, file[key].tolist()) for key in file.files}
    for pattern in ("drifts/*.safetensors", "branches/*/second_moments.safetensors"):
        for path in out.glob(pattern):
            tensors = load_file(path).items()
            found[str(path.relative_to(out))] = {key: (value.shape, value.tobytes()) for key, value in tensors}
    for path in out.glob("fits/*.json"):
        record = json.loads(path.read_text())
        fixed = {key: value for key, value in record.items() if key not in ("seconds", "content_sha256")}
        found[str(path.relative_to(out))] = fixed
    if run.retention_answers.exists():
        found["answers to general prompts"] = run.retention_answers.read_bytes()
    table = json.loads(run.summary(".json").read_text())
    del table["stage_seconds"]
    for row in table["arms"]:
        for key in CHANGES_FROM_RUN_TO_RUN:
            del row[key]
    return found | {f"table: {key}": value for key, value in table.items()}


def differences(one: Outcome, other: Outcome) -> list[str]:
    """Names of what two outcomes do not share."""
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
