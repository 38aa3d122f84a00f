import fcntl
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import InputError
from training.run_directory import (
    BranchDirectory,
    RunDirectory,
    content_hash,
    file_hash,
    folder_hash,
    link_or_copy,
    read_json,
    replacing,
    replacing_folder,
    write_json,
    write_text,
)

texts = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# --- atomic replacement -----------------------------------------------------------------------------------------------


def test_a_file_is_replaced_when_its_block_ends_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent, "a rename across file systems is no rename"
    assert path.read_text() == "new"
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    write_text(path, "old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_block_that_writes_nothing_is_an_error_and_not_an_empty_file(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "old"


KILLED_WHILE_WRITING = """
import os, sys
from pathlib import Path
from training.run_directory import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_a_writer_that_is_killed_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(path)], check=False)
    assert killed.returncode == -9
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with replacing_folder(folder) as temporary:
        (temporary / "old").write_text("old")

    def write_half() -> None:
        with replacing_folder(folder) as temporary:
            (temporary / "half").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert names(folder) == ["old"]
    with replacing_folder(folder) as temporary:
        (temporary / "new").touch()
        (temporary / "below").mkdir()
        (temporary / "below" / "deeper").touch()
    assert names(folder) == ["below", "new"]
    assert names(tmp_path) == ["model"]


def test_what_a_killed_process_left_of_the_same_name_is_not_mixed_in(tmp_path: Path) -> None:
    left = tmp_path / f".model.{os.getpid()}.tmp"
    left.mkdir()
    (left / "stale").touch()
    with replacing_folder(tmp_path / "model") as temporary:
        (temporary / "fresh").touch()
    assert names(tmp_path / "model") == ["fresh"]


# --- JSON and hashes --------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(json_values)
def test_json_comes_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value
    assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_is_refused_and_the_old_file_stays(tmp_path: Path, bad: float) -> None:
    write_json(tmp_path / "file.json", [1])
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "file.json", {"loss": [bad]})
    with pytest.raises(ValueError, match="JSON compliant"):
        content_hash({"loss": [bad]})
    assert read_json(tmp_path / "file.json") == [1]
    assert names(tmp_path) == ["file.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00"])
def test_a_file_that_is_missing_or_no_json_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"file.json is missing"):
        read_json(tmp_path / "file.json")
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(InputError, match=r"file.json is not valid JSON"):
        read_json(tmp_path / "file.json")


@settings(max_examples=100)
@given(st.dictionaries(texts, json_values, max_size=4), st.randoms(use_true_random=False))
def test_a_content_hash_ignores_the_order_of_keys_and_survives_json(value: dict, random: Any) -> None:
    shuffled = dict(random.sample(list(value.items()), len(value)))
    assert content_hash(shuffled) == content_hash(value) == content_hash(json.loads(json.dumps(value)))
    assert content_hash([value]) != content_hash(value)
    assert content_hash(value | {"one more": 1}) != content_hash(value) or value.get("one more") == 1


def test_a_folder_hash_is_of_the_names_and_bytes_of_weights_and_of_nothing_else(tmp_path: Path) -> None:
    first = tmp_path / "a.safetensors"
    first.write_bytes(b"weights")
    assert file_hash(first) == hashlib.sha256(b"weights").hexdigest()
    one = folder_hash(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert folder_hash(tmp_path) == one
    first.write_bytes(b"Weights")
    assert folder_hash(tmp_path) != one
    first.write_bytes(b"weights")
    assert folder_hash(tmp_path) == one
    (tmp_path / "b.safetensors").write_bytes(b"")
    assert folder_hash(tmp_path) != one
    (tmp_path / "b.safetensors").unlink()
    first.rename(tmp_path / "c.safetensors")
    assert folder_hash(tmp_path) != one
    (tmp_path / "c.safetensors").unlink()
    with pytest.raises(InputError, match=r"no .safetensors file"):
        folder_hash(tmp_path)


def test_a_link_has_the_bytes_of_its_source_through_symbolic_links_too(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"weights")
    (tmp_path / "link").symlink_to(tmp_path / "blob")
    link_or_copy(tmp_path / "link", tmp_path / "placed")
    assert not (tmp_path / "placed").is_symlink()
    assert (tmp_path / "placed").read_bytes() == b"weights"
    (tmp_path / "taken").write_bytes(b"old")
    link_or_copy(tmp_path / "blob", tmp_path / "taken")
    assert (tmp_path / "taken").read_bytes() == b"weights"


# --- the run ----------------------------------------------------------------------------------------------------------

TRY_TO_LOCK = """
import sys
import threading
import time
from pathlib import Path
from training.errors import InputError
from training.run_directory import RunDirectory
try:
    with RunDirectory(Path(sys.argv[1])).lock():
        print("held")
except InputError as error:
    print(error)
"""


def lock_elsewhere(root: Path) -> str:
    command = [sys.executable, "-c", TRY_TO_LOCK, str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_second_process_is_refused_while_a_run_is_held_and_not_after(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with run.lock():
        assert (
            lock_elsewhere(run.root) == f"run directory {run.root} is in use by another run; wait for it or use --out"
        )
        with pytest.raises(InputError, match="in use by another run"), run.lock():
            pass
        assert "in use" in lock_elsewhere(run.root)
        assert lock_elsewhere(tmp_path / "other") == "held"
    assert lock_elsewhere(run.root) == "held"


def test_the_lock_of_a_dead_process_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("left behind")
    with RunDirectory(tmp_path).lock():
        pass


def test_a_folder_is_never_taken_apart_under_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[Path] = []
    real = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path, **options: (removed.append(path), real(path, **options)))
    for text in ("old", "new"):
        with replacing_folder(tmp_path / "model") as temporary:
            (temporary / "weights").write_text(text)
    assert (tmp_path / "model" / "weights").read_text() == "new"
    assert removed
    assert tmp_path / "model" not in removed
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_a_killed_process_left_half_written_is_gone_and_nothing_else(tmp_path: Path) -> None:
    kept = ["arms/a/model/config.json", ".hidden", "mixture/.notes.tmp", "x.12.tmp", "branches/b/.spec.json.tmp"]
    left = ["arms/a/.model.12.tmp/config.json", ".base.earlier.345.tmp/config.json", "branches/b/.spec.json.6.tmp"]
    for name in kept + left:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    with RunDirectory(tmp_path).lock():
        files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
        assert files - {".lock", ".workers.lock"} == set(kept)
        assert not (tmp_path / "arms/a/.model.12.tmp").exists()


def test_a_run_begins_when_the_last_worker_of_a_killed_driver_is_gone(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    held, elapsed = 0.3, -time.monotonic()
    with open(run.workers_lock, "w") as worker:
        fcntl.flock(worker, fcntl.LOCK_SH)
        threading.Timer(held, lambda: fcntl.flock(worker, fcntl.LOCK_UN)).start()
        with run.lock():
            elapsed += time.monotonic()
    assert elapsed >= held


def test_a_worker_that_does_not_end_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.run_directory.WORKERS_END_WITHIN", 0.05)
    run = RunDirectory(tmp_path)
    with open(run.workers_lock, "w") as worker:
        fcntl.flock(worker, fcntl.LOCK_SH)
        with pytest.raises(InputError, match="a worker process of an earlier run still uses"), run.lock():
            pass


def test_no_two_files_of_a_run_share_a_path() -> None:
    run = RunDirectory(Path("run"))
    branch = BranchDirectory(run.branch("abc"))
    paths = [run.config, run.environment, run.mixture, run.base, run.start, run.conflicts, run.sketches("t")]
    paths += [run.partition("t"), run.branch("t"), run.arm("t"), run.evaluation("t"), run.evaluation_summary]
    paths += [run.retention("t"), run.retention("answers"), run.retention_answers, run.retention_reference]
    paths += [run.pictures, run.summary(".json"), run.summary(".md"), run.events, run.evaluation("evaluation")]
    paths += [branch.spec, branch.model, branch.displacement, branch.metrics, branch.checkpoint, branch.done]
    paths += [branch.second_moments]
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to(run.root) for path in paths)
