import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from training.branches.metrics import append_line
from training.errors import InputError
from training.full_disk import full_disk_told, is_disk_full

NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
IN_RUST = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("failure", [NO_SPACE, OSError(errno.EDQUOT, "Disk quota exceeded"), IN_RUST])
def test_a_full_disk_is_told_in_one_sentence_whoever_reports_it(failure: Exception, tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=rf"no space left to write {tmp_path}; free some") as told,
        full_disk_told(tmp_path),
    ):
        raise failure
    assert "\n" not in str(told.value)


def test_a_failure_while_a_full_disk_is_cleaned_up_after_is_a_full_disk(tmp_path: Path) -> None:
    def write() -> None:
        try:
            raise NO_SPACE
        finally:
            raise ValueError("the archive cannot be closed")

    with pytest.raises(InputError, match="no space left"), full_disk_told(tmp_path):
        write()


@pytest.mark.parametrize(
    "failure", [OSError(errno.EIO, "Input/output error"), ValueError("28"), SafetensorError("I/O error (os error 5)")]
)
def test_other_failures_stay_what_they_are(failure: Exception, tmp_path: Path) -> None:
    assert not is_disk_full(failure)
    with pytest.raises(type(failure)) as told, full_disk_told(tmp_path):
        raise failure
    assert told.value is failure


def test_bad_input_inside_is_told_as_it_is(tmp_path: Path) -> None:
    refused = InputError("task 'a' is empty")
    with pytest.raises(InputError, match="task 'a' is empty"), full_disk_told(tmp_path):
        raise refused


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_line_that_finds_no_space_is_told(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(InputError, match="no space left"), full_disk_told(tmp_path):
        append_line(tmp_path / "metrics.jsonl", step=1)
