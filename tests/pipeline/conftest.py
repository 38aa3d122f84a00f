"""One finished run of the `smoke` recipe, which tests that change it copy first, and commands in this process."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pipeline.every_kind import WITH_ONE_WORKER
from tests.pipeline.refusals import checked_line, training
from training.__main__ import main


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, by the test process that asks first; each has a folder of its own below the one that all share."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    out = shared / "smoke-run"
    with open(shared / "smoke-run.lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not (out / "summary.md").exists():
            command = [sys.executable, "-m", "training", "run", "smoke", "--out", str(out)]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert done.stderr == ""
    return out


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with every kind of file there is."""
    out = tmp_path_factory.mktemp("every-kind") / "run"
    done = training("run", "smoke", "--out", out, *WITH_ONE_WORKER)
    assert (done.returncode, done.stderr) == (0, "")
    return out


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """The one line of a command that is refused in this process."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["training", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return checked_line(ended.value.code, capfd.readouterr().err)

    yield run
    signal.signal(signal.SIGTERM, handler)
