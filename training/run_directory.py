"""The run directory: the only interface between stages, and the only module that knows its file names.

Standard library only, so that figures and diagnostics can use it without importing anything heavy. Every write goes
to a temporary name beside its target and is renamed last: a reader never sees half a file, whenever the writer was
killed.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from training.errors import InputError, MissingInput

WORKERS_END_WITHIN = 60.0
"""Seconds that workers get to end after their driver was killed; they need far less than one."""
LEFT_BEHIND = re.compile(r"\..+\.\d+\.tmp")
"""Temporary names as :func:`replacing` and :func:`replacing_folder` give them."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths of one run below ``root``; nothing is created until it is written."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved recipe (TOML)."""
        return self.root / "config.toml"

    @property
    def environment(self) -> Path:
        """Versions, device, threads, commit and command."""
        return self.root / "environment.json"

    @property
    def mixture(self) -> Path:
        """Folder of the frozen mixture."""
        return self.root / "mixture"

    @property
    def base(self) -> Path:
        """The untouched model (a ``from_pretrained`` folder)."""
        return self.root / "base"

    @property
    def start(self) -> Path:
        """The model after the primer, where conflicts are measured and branches begin."""
        return self.root / "start"

    @property
    def conflicts(self) -> Path:
        """Cosine matrices, reliability, standard errors and seeds (JSON)."""
        return self.root / "conflicts.json"

    def sketches(self, task: str) -> Path:
        """Gradient sketches of one task (NPZ): a later task adds a file and touches no other."""
        return self.root / "conflicts" / f"{task}.npz"

    def partition(self, name: str) -> Path:
        """Groups, coordinates and stability of one partition (JSON)."""
        return self.root / "partitions" / f"{name}.json"

    def branch(self, spec_hash: str) -> Path:
        """Folder of the branch whose spec has this hash."""
        return self.root / "branches" / spec_hash

    def arm(self, name: str) -> Path:
        """Folder of an arm: ``arm.json``, ``model/``, ``provenance.json``."""
        return self.root / "arms" / name

    def fit(self, name: str) -> Path:
        """Coefficients that an arm was fitted with on validation data, and the search for them (JSON)."""
        return self.root / "fits" / f"{name}.json"

    def drift(self, name: str) -> Path:
        """What corrects the merge of an arm for the drift of its branches (safetensors)."""
        return self.root / "drifts" / f"{name}.safetensors"

    def report(self, arm: str) -> "ReportDirectory":
        """What the diagnostics of an arm measured, and the page they end in."""
        return ReportDirectory(self.root / "reports" / arm)

    @property
    def reported_arms(self) -> list[str]:
        """Names of the arms with a report, in alphabetical order."""
        return sorted(path.parent.name for path in self.root.glob("reports/*/measurements"))

    def evaluation(self, name: str) -> Path:
        """Per-item results of one model (NPZ)."""
        return self.root / "evaluation" / f"{name}.npz"

    @property
    def evaluation_summary(self) -> Path:
        """Per-task and aggregated results of every model (JSON)."""
        return self.root / "evaluation" / "evaluation.json"

    @property
    def retention_answers(self) -> Path:
        """The base model's own answers to general prompts, frozen (JSON lines)."""
        return self.root / "retention" / "answers.jsonl"

    @property
    def retention_reference(self) -> Path:
        """What those answers were made from, and their hash (JSON)."""
        return self.root / "retention" / "answers.json"

    def retention(self, name: str) -> Path:
        """Per-prompt retention of one model (NPZ)."""
        return self.root / "retention" / f"{name}.npz"

    def harness(self, arm: str, task: str) -> Path:
        """Per-item results of one arm on one task of lm-eval (JSON), whose name may hold any character."""
        return self.root / "evaluation" / "harness" / arm / f"{quote(task, safe='')}.json"

    def harness_table(self, suffix: str) -> Path:
        """The arms on lm-eval's tasks that were asked for last, as ``.json`` or ``.md``."""
        return self.root / "evaluation" / "harness" / f"harness{suffix}"

    @property
    def pictures(self) -> Path:
        """Folder of the pictures that end the run."""
        return self.root / "pictures"

    @property
    def cost(self) -> Path:
        """What every arm cost, beside other methods, and whether that was measured or computed (JSON)."""
        return self.root / "cost.json"

    def summary(self, suffix: str) -> Path:
        """The table that ends the run, as ``.json`` or ``.md``."""
        return self.root / f"summary{suffix}"

    @property
    def events(self) -> Path:
        """Stages with their times (JSON lines)."""
        return self.root / "metrics" / "events.jsonl"

    @property
    def workers_lock(self) -> Path:
        """Held, shared, by every worker process of the run while it lives."""
        return self.root / ".workers.lock"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for one driver; a second one is refused.

        Workers of a driver that was killed have ended when the block begins, and what they left half-written is gone.

        Raises:
            InputError: another process holds the run directory.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.root / ".lock", "w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(
                    f"run directory {self.root} is in use by another run; wait for it or use --out"
                ) from None
            self._outwait_workers()
            _remove_left_behind(self.root)
            yield

    def _outwait_workers(self) -> None:
        patience = time.monotonic() + WORKERS_END_WITHIN
        with open(self.workers_lock, "w") as handle:
            while True:
                try:
                    return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    if time.monotonic() > patience:
                        raise InputError(
                            f"a worker process of an earlier run still uses {self.root}; end it, or use --out"
                        ) from None
                time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class BranchDirectory:
    """Paths of one trained branch; also the layout ``training branch --out`` writes."""

    root: Path

    @property
    def spec(self) -> Path:
        """What was trained: the spec that the folder's name is the hash of."""
        return self.root / "spec.json"

    @property
    def model(self) -> Path:
        """The branch's weights as a ``from_pretrained`` folder."""
        return self.root / "model"

    @property
    def displacement(self) -> Path:
        """Sketch and norm of θ - θ⁰ every few steps (NPZ)."""
        return self.root / "displacement.npz"

    @property
    def second_moments(self) -> Path:
        """Adam's second moments at the end of training, where an arm asks for them (safetensors)."""
        return self.root / "second_moments.safetensors"

    @property
    def metrics(self) -> Path:
        """One JSON line per optimiser step."""
        return self.root / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        """Weights, optimiser state and position while the branch runs (one safetensors file)."""
        return self.root / "checkpoint" / "checkpoint.safetensors"

    @property
    def done(self) -> Path:
        """Tokens, steps, SHA-256, seconds and peak memory; written last."""
        return self.root / "done.json"


@dataclass(frozen=True, slots=True)
class ReportDirectory:
    """Paths of one report of the diagnostics; also the layout ``diagnostics --out`` writes."""

    root: Path

    def page(self, suffix: str) -> Path:
        """The report, as ``.html``, ``.json`` or ``.md``."""
        return self.root / f"report{suffix}"

    @property
    def pictures(self) -> Path:
        """Folder of the report's pictures."""
        return self.root / "pictures"

    @property
    def mixture(self) -> Path:
        """Folder of the examples, frozen here where they come from files and not from a run."""
        return self.root / "mixture"

    def values(self, name: str) -> Path:
        """What a diagnostic found (JSON)."""
        return self.root / "measurements" / f"{name}.json"

    def arrays(self, name: str) -> Path:
        """What a diagnostic's numbers are computed from (NPZ)."""
        return self.root / "measurements" / f"{name}.npz"

    def checkpoint(self, name: str) -> Path:
        """Where a long diagnostic goes on from when it was stopped."""
        return self.root / "measurements" / f"{name}.checkpoint"


def _flush(file: Path) -> None:
    """Have the file's bytes on the disk before its name, or a power cut could leave the name without them."""
    with open(file, "rb") as handle:
        os.fsync(handle.fileno())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; rename it to ``path`` when the block ends well, remove it otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Like :func:`replacing`, for a folder; what stood at ``path`` steps aside just before the rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, earlier = (path.with_name(f".{path.name}{kind}.{os.getpid()}.tmp") for kind in ("", ".earlier"))
    for leftover in (temporary, earlier):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for entry in temporary.rglob("*"):
            if entry.is_file():
                _flush(entry)
        if path.exists():
            os.replace(path, earlier)  # removing it in place could be killed half-way
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(earlier, ignore_errors=True)


def _remove_left_behind(root: Path) -> None:
    """Remove what processes that were killed while they wrote below ``root`` left under temporary names."""
    for folder, folders, files in os.walk(root):
        for name in filter(LEFT_BEHIND.fullmatch, folders):
            shutil.rmtree(Path(folder, name))
        folders[:] = [name for name in folders if not LEFT_BEHIND.fullmatch(name)]
        for name in filter(LEFT_BEHIND.fullmatch, files):
            Path(folder, name).unlink()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path``, atomically; NaN and infinity are refused by the encoder."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        MissingInput: there is no such file.
        InputError: the file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingInput(f"{path} is missing; run the stage that writes it first") from None
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}); remove it and run the same command again") from None


def content_hash(value: Any) -> str:
    """SHA-256 (hex) of a JSON value in canonical form: sorted keys, no spaces."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    ).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def folder_hash(folder: Path) -> str:
    """SHA-256 over the names and hashes of a model folder's weight files, in name order.

    Raises:
        InputError: the folder holds no safetensors file.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise InputError(f"{folder} holds no .safetensors file; save the model with save_pretrained first")
    return content_hash([[path.name, file_hash(path)] for path in weights])


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link ``source`` to ``target``, or copy it where that is impossible: no file of a run is changed in place."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
