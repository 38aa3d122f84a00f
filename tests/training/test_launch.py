import os
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from training.errors import InputError
from training.interruption import Interrupted
from training.launch.job import Job
from training.launch.local import LocalPool
from training.progress import Progress

HERE = "launched_functions"

FUNCTIONS = """
import os, signal, time
from training.errors import InputError

def square(number, device, report, stopping):
    report(number)
    return number**2, os.getpid(), os.environ["OMP_NUM_THREADS"]

def refuse(device, report, stopping):
    raise InputError("task 'a' is empty")

def wait_for_stop(path, device, report, stopping):
    while not stopping():
        time.sleep(0.01)
    open(path, "w").close()

def die(device, report, stopping):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LocalPool]:
    """Makes pools whose workers can import the functions above."""
    (tmp_path / f"{HERE}.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    progress = Progress(Console(file=StringIO()))
    return lambda workers, seconds=None: LocalPool(
        workers, 1, "cpu", progress, None if seconds is None else time.monotonic() + seconds, tmp_path / "lock"
    )


def test_results_come_in_the_order_of_the_jobs_from_processes_of_one_thread(pool: Callable[..., LocalPool]) -> None:
    with pool(2) as launcher:
        jobs = [Job(str(n), f"{HERE}:square", {"number": n}, tokens=n) for n in range(6)]
        results = launcher.run("squares", jobs)
    assert [value for value, _, _ in results] == [n**2 for n in range(6)]
    assert all(process != os.getpid() for _, process, _ in results)
    assert {threads for _, _, threads in results} == {"1"}


def test_the_first_error_is_raised_and_stops_the_others(pool: Callable[..., LocalPool], tmp_path: Path) -> None:
    jobs = [
        Job("waits", f"{HERE}:wait_for_stop", {"path": str(tmp_path / "stopped")}, tokens=2),
        Job("refuses", f"{HERE}:refuse", {}, tokens=1),
    ]
    with pytest.raises(InputError, match="task 'a' is empty"), pool(2) as launcher:
        launcher.run("jobs", jobs)
    assert (tmp_path / "stopped").exists()


def test_the_deadline_stops_jobs_at_their_next_checkpoint(pool: Callable[..., LocalPool], tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="time budget"), pool(1, seconds=0.1) as launcher:
        launcher.run("jobs", [Job("waits", f"{HERE}:wait_for_stop", {"path": str(tmp_path / "stopped")})])
    assert (tmp_path / "stopped").exists()


def test_a_worker_that_is_killed_is_an_interruption(pool: Callable[..., LocalPool]) -> None:
    with pytest.raises(Interrupted, match="worker process died"), pool(1) as launcher:
        launcher.run("jobs", [Job("dies", f"{HERE}:die", {})])


def test_every_job_of_a_run_names_a_function_that_exists() -> None:
    source = (Path(__file__).parents[2] / "training" / "stages.py").read_text()
    names = [part.split('"')[0] for part in source.split('"training.')[1:]]
    functions = [name for name in names if ":" in name]
    assert len(functions) == 5
    for name in functions:
        assert callable(Job("", f"training.{name}", {}).resolve())
