import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import IO

import pytest
from rich.console import Console

from tests.forked_workers import forked_workers
from training.errors import InputError
from training.interruption import Interrupted
from training.launch.job import Job
from training.launch.local import LocalPool
from training.progress import Progress

HERE = "launched_functions"

FUNCTIONS = """
import os, signal, threading, time
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

def talk(times, device, report, stopping):
    for _ in range(times):
        report(1)

def report_late(seconds, device, report, stopping):
    threading.Timer(seconds, report, (1,)).start()

def wait(seconds, device, report, stopping):
    time.sleep(seconds)

def begin(path, device, report, stopping):
    open(path, "w").close()
    time.sleep(1000)

def die(device, report, stopping):
    os.kill(os.getpid(), signal.SIGKILL)

def die_asking(device, report, stopping):
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
    while True:
        stopping()
"""


@pytest.fixture
def started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LocalPool]:
    """Makes pools whose workers can import the functions above."""
    (tmp_path / f"{HERE}.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")
    progress = Progress(Console(file=StringIO()))
    return lambda workers, seconds=None: LocalPool(
        workers, 1, "cpu", progress, None if seconds is None else time.monotonic() + seconds, tmp_path / "lock"
    )


@pytest.fixture
def pool(started_anew: Callable[..., LocalPool]) -> Iterator[Callable[..., LocalPool]]:
    """The same, of workers that are there at once."""
    with forked_workers():
        yield started_anew


def test_results_come_in_the_order_of_the_jobs_from_processes_of_one_thread(
    started_anew: Callable[..., LocalPool],
) -> None:
    with started_anew(1) as launcher:
        jobs = [Job(str(n), f"{HERE}:square", {"number": n}, tokens=n) for n in range(6)]
        results = launcher.run("squares", jobs)
    assert [value for value, _, _ in results] == [n**2 for n in range(6)]
    assert all(process != os.getpid() for _, process, _ in results)
    assert {threads for _, _, threads in results} == {"1"}


def test_results_of_several_workers_come_in_the_order_of_the_jobs(pool: Callable[..., LocalPool]) -> None:
    with pool(2) as launcher:
        jobs = [Job(str(n), f"{HERE}:square", {"number": n}, tokens=n) for n in range(6)]
        assert [value for value, _, _ in launcher.run("squares", jobs)] == [n**2 for n in range(6)]


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


def test_a_pool_ends_though_nobody_reads_what_its_workers_still_say(pool: Callable[..., LocalPool]) -> None:
    with pytest.raises(Interrupted, match="time budget"), pool(1, seconds=0.1) as launcher:
        launcher.run("jobs", [Job("talks", f"{HERE}:talk", {"times": 50_000})])


def test_messages_that_come_after_their_stage_has_ended_are_no_messages_of_the_next(
    pool: Callable[..., LocalPool],
) -> None:
    with pool(1) as launcher:
        launcher.run("late", [Job(str(n), f"{HERE}:report_late", {"seconds": 0.2}) for n in range(3)])
        launcher.run("waits", [Job("1", f"{HERE}:wait", {"seconds": 0.5})])


def test_a_worker_killed_while_it_asks_whether_to_stop_takes_no_lock_with_it(pool: Callable[..., LocalPool]) -> None:
    with pytest.raises(Interrupted, match="worker process died"), pool(1) as launcher:
        launcher.run("jobs", [Job("asks", f"{HERE}:die_asking", {})])


def test_an_idle_worker_that_was_killed_is_an_interruption_of_the_next_stage(pool: Callable[..., LocalPool]) -> None:
    with pool(1) as launcher:
        ((_, worker, _),) = launcher.run("squares", [Job("2", f"{HERE}:square", {"number": 2})])
        os.kill(worker, signal.SIGKILL)
        while multiprocessing.active_children():
            time.sleep(0.01)
        with pytest.raises(Interrupted, match="worker process died"):
            launcher.run("squares", [Job("3", f"{HERE}:square", {"number": 3})])


DRIVER = """
import sys
from io import StringIO
from pathlib import Path
from rich.console import Console
from training.launch.job import Job
from training.launch.local import LocalPool
from training.progress import Progress

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with LocalPool(1, 1, "cpu", Progress(Console(file=StringIO())), None, folder / "lock") as pool:
        pool.run("jobs", [Job("1", "launched_functions:begin", {"path": sys.argv[2]}, tokens=1)])
"""


def test_workers_of_a_killed_driver_end_whatever_they_do_and_hold_the_lock_until_then(
    pool: Callable[..., LocalPool], tmp_path: Path
) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    begun = tmp_path / "begun"
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py"), str(tmp_path), str(begun)], env=os.environ | {"PYTHONPATH": paths}
    )
    while not begun.exists():
        assert driver.poll() is None
        time.sleep(0.01)
    with open(tmp_path / "lock") as handle:
        assert not gets_lock(handle)
        driver.kill()
        driver.wait()
        deadline = time.monotonic() + 20
        while not gets_lock(handle):
            assert time.monotonic() < deadline, "a worker lives on"
            time.sleep(0.01)


def gets_lock(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_every_job_of_a_run_names_a_function_that_exists() -> None:
    source = (Path(__file__).parents[2] / "training" / "stages.py").read_text()
    names = [part.split('"')[0] for part in source.split('"training.')[1:]]
    functions = [name for name in names if ":" in name]
    assert len(functions) == 7
    for name in functions:
        assert callable(Job("", f"training.{name}", {}).resolve())
