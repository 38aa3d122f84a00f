"""A full disk at every writer of a run: one line, nothing half-written, and the run continues once there is space.

Two ways to a full disk. A file system that reports it when a file is flushed, as those that allocate late and those
over a network do: real for every process of the run, on any machine, and at a chosen file. And a small file system that
really fills up, byte by byte, where this machine lets tests mount one.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.pipeline.every_kind import WITH_ONE_WORKER
from tests.pipeline.killing import differences, outcome
from tests.pipeline.refusals import checked_line, leftovers, refusal, results, training, training_in_its_own_process

REPORTED_AT_FLUSH = """\
import errno, fnmatch, os

flush = os.fsync

def full(descriptor):
    file = os.readlink(f"/proc/self/fd/{descriptor}")
    if fnmatch.fnmatch(file, os.environ["FULL_DISK_AT"]):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    flush(descriptor)

os.fsync = full
"""

WRITERS = {
    "recipe": ".config.toml*",
    "environment": ".environment.json*",
    "mixture": "mixture/.freezing*/lcm/*train.jsonl*",
    "manifest": "mixture/*manifest.json*",
    "base model": "*base*/model.safetensors",
    "spec of the primer": "branches/*spec.json*",
    "checkpoint of a branch": "branches/*checkpoint.safetensors*",
    "model of a branch": "branches/*model*/model.safetensors",
    "displacement of a branch": "branches/*displacement.npz*",
    "end of a branch": "branches/*done.json*",
    "start model": "*start*/config.json",
    "sketches": "conflicts/*coin_flip.npz*",
    "conflicts": "*conflicts.json*",
    "partition": "partitions/*merit-1d.json*",
    "linked model": "arms/joint/*model*/tokenizer.json",
    "merged model": "arms/random-2/*model*/model.safetensors",
    "model card": "arms/random-2/*model*/*README.md*",
    "arm": "arms/random-2/*arm.json*",
    "evaluation": "evaluation/*joint.npz*",
    "answers to general prompts": "retention/*answers.jsonl*",
    "hash of those answers": "retention/*answers.json[!l]*",
    "retention": "retention/*joint.npz*",
    "cost": "*cost.json*",
    "all evaluations": "evaluation/*evaluation.json*",
    "summary": "*summary.json*",
    "picture": "pictures/*task_map.png*",
    "page": "*summary.md*",
}
"""In the order in which a run comes to them."""
WRITERS_OF_OTHER_MERGES = {
    "second moments": "branches/*second_moments.safetensors*",
    "fitted weights": "fits/*+fitted.json*",
    "drift": "drifts/*.safetensors*",
    "merge by an operator": "arms/merit-1d+ota/*model*/model.safetensors",
    "fitted scale": "fits/*@fitted.json*",
    "scaled model": "arms/joint@0.8/*model*/model.safetensors",
}
SETTINGS = ("--set", "resources.workers=1", "--set", "branch.checkpoint_seconds=0")


@pytest.fixture
def no_space_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to tell which file is flushed")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(REPORTED_AT_FLUSH)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return tmp_path / "run"


def refused_at(writer: str, run: Path, monkeypatch: pytest.MonkeyPatch, settings: Sequence[str] = SETTINGS) -> None:
    """The same command, stopped at one writer after the other, goes a little further each time."""
    monkeypatch.setenv("FULL_DISK_AT", f"{run}/{(WRITERS | WRITERS_OF_OTHER_MERGES)[writer]}")
    done = training_in_its_own_process("run", "smoke", "--out", run, *settings)
    assert done.returncode == 2, f"{writer}: {done.stderr or 'nothing was refused'}"
    line = checked_line(done.returncode, done.stderr)
    assert line.startswith(f"error: no space left to write {run}")
    assert line.endswith("; free some and run the same command to continue")
    assert not leftovers(run)


def assert_continues(run: Path, smoke_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULL_DISK_AT", "")
    done = training("run", "smoke", "--out", run, *SETTINGS)
    assert done.returncode == 0, done.stderr
    assert results(run) == results(smoke_run)


@pytest.mark.slow
def test_a_full_disk_at_one_writer_after_another_only_delays_the_run(
    no_space_for: Path, smoke_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for writer in WRITERS:
        refused_at(writer, no_space_for, monkeypatch)
    assert_continues(no_space_for, smoke_run, monkeypatch)


@pytest.mark.slow
def test_a_full_disk_at_what_other_merges_write_only_delays_the_run(
    no_space_for: Path, every_kind: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for writer in WRITERS_OF_OTHER_MERGES:
        refused_at(writer, no_space_for, monkeypatch, WITH_ONE_WORKER)
    monkeypatch.setenv("FULL_DISK_AT", "")
    done = training("run", "smoke", "--out", no_space_for, *WITH_ONE_WORKER)
    assert done.returncode == 0, done.stderr
    assert differences(outcome(no_space_for), outcome(every_kind)) == []


def test_a_full_disk_in_driver_and_workers_only_delays_what_a_run_still_lacks(
    no_space_for: Path, smoke_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = no_space_for
    shutil.copytree(smoke_run, run)
    shutil.rmtree(run / "arms" / "random-2")
    for lacking in ("evaluation/joint.npz", "pictures/task_map.png"):
        (run / lacking).unlink()
    for writer in ("merged model", "picture"):
        refused_at(writer, run, monkeypatch)
    assert_continues(run, smoke_run, monkeypatch)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that can be made larger."""
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None or mount(place, "size=100k").returncode:
        pytest.skip("this machine does not let tests mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def mount(place: Path, options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, text=True)


def used_bytes(place: Path) -> int:
    found = os.statvfs(place)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


ROOM = [0, 4, 40, 150, 600]
MORE_ROOM = [*range(0, 200, 20), *range(200, 3000, 200)]


@pytest.mark.slow
@pytest.mark.parametrize("steps", [ROOM, MORE_ROOM], ids=["five sizes", "many sizes"])
def test_a_disk_that_grows_too_slowly_stops_the_run_again_and_again_and_changes_nothing(
    steps: list[int], small_disk: Path, smoke_run: Path
) -> None:
    """``steps`` are KiB more than what the run holds already."""
    run, refused = small_disk / "run", 0
    for room in steps:
        size = used_bytes(small_disk) // 1024 + room + 4
        assert mount(small_disk, f"remount,size={size}k").returncode == 0
        done = training("run", "smoke", "--out", run, *SETTINGS)
        if done.returncode == 0:
            break
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(f"error: no space left to write {run}"), done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert not leftovers(run)
        refused += 1
    assert refused >= len(ROOM) - 1
    assert mount(small_disk, "remount,size=200m").returncode == 0
    done = training("run", "smoke", "--out", run, *SETTINGS)
    assert done.returncode == 0, done.stderr
    assert results(run) == results(smoke_run)


def test_a_disk_that_is_full_for_a_merge_leaves_what_was_there(small_disk: Path, smoke_run: Path) -> None:
    inputs = [smoke_run / "arms" / arm / "model" for arm in ("joint", "merit-1d")]
    arguments = ("merge", *(f"--branch={path}" for path in inputs), "--out", small_disk / "merged")
    line = refusal(*arguments)
    assert (
        line == f"error: no space left to write {small_disk / 'merged'}; free some and run the same command to continue"
    )
    assert list(small_disk.iterdir()) == []
    assert mount(small_disk, "remount,size=100m").returncode == 0
    assert training(*arguments).returncode == 0
    assert (small_disk / "merged" / "provenance.json").is_file()
