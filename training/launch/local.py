"""Jobs in worker processes of this machine, on one thread each on a CPU, on one CUDA device each where there are any.

Threads that share cores spin against each other: two processes of one thread are far faster than one of two. Workers
live as long as the run, so that torch and transformers are imported once.
"""

import contextlib
import ctypes
import errno
import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from training.environment import usable_cores
from training.errors import InputError
from training.full_disk import is_disk_full
from training.interruption import Interrupted
from training.launch.job import Job
from training.launch.lifeline import end_with_driver
from training.progress import Progress

POLL_SECONDS = 0.2
NVIDIA_DRIVER = ("/proc/driver/nvidia/version", "/dev/dxg")

_in_worker: dict[str, Any] = {}


def _begin_worker(lock: Path, threads: int, devices: Any, messages: Any, stop: Any) -> None:
    end_with_driver(lock)
    messages.cancel_join_thread()  # a driver that has stopped reads no more of them, and is not to be waited for
    import torch

    from training.model.load import quieten_transformers

    torch.set_num_threads(threads)
    quieten_transformers()
    _in_worker.update(device=devices.get(), messages=messages, stop=stop)


def _run_job(stage: int, number: int, job: Job) -> Any:
    messages, stop = _in_worker["messages"], _in_worker["stop"]
    messages.put((stage, number, 0))
    try:
        return job.resolve()(
            **job.arguments,
            device=_in_worker["device"],
            report=lambda tokens: messages.put((stage, number, tokens)),
            stopping=lambda: stop.value,
        )
    except Exception as error:
        if not isinstance(error, InputError) and is_disk_full(error):  # what libraries raise may not survive a pickle
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        raise


class LocalPool:
    """A :class:`training.launch.job.Launcher` over worker processes; a context manager that ends them.

    Without a number of ``workers`` there is one per CUDA device, or per core where there is none. ``deadline`` is a
    value of ``time.monotonic`` after which jobs are stopped. Workers hold the file ``lock`` while they live.

    Raises:
        InputError: CUDA is asked for and there is none.
    """

    def __init__(
        self, workers: int | None, threads: int, device: str, progress: Progress, deadline: float | None, lock: Path
    ) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        context = multiprocessing.get_context("spawn")
        self._messages = context.Queue()
        # No Event: a worker killed while it asks one whether it is set keeps its lock, and nobody can set it any more.
        self._stop = context.RawValue(ctypes.c_bool, False)
        self._progress, self._deadline = progress, deadline
        self._stage = 0
        devices = context.Queue()
        available = [] if device == "cpu" else _cuda_devices()
        if device == "cuda" and not available:
            raise InputError("resources.device is 'cuda' and no CUDA device is visible; use 'auto' or 'cpu'")
        workers = workers or len(available) or usable_cores()
        for index in range(workers):
            devices.put(available[index % len(available)] if available else "cpu")
        self._pool = ProcessPoolExecutor(
            workers, context, initializer=_begin_worker, initargs=(lock, threads, devices, self._messages, self._stop)
        )

    def __enter__(self) -> "LocalPool":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.value = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._messages.close()

    def run(self, title: str, jobs: list[Job]) -> list[Any]:
        """Run all jobs; see :class:`training.launch.job.Launcher`.

        Raises:
            Interrupted: the deadline passed, Ctrl-C was pressed, or a worker process died.
        """
        self._stage += 1
        order = sorted(range(len(jobs)), key=lambda number: -jobs[number].tokens)
        with self._progress.jobs(title, [(job.title, job.tokens) for job in jobs]) as bars, self._stopping_on_error():
            with _ctrl_c_held():
                futures = {number: self._pool.submit(_run_job, self._stage, number, jobs[number]) for number in order}
            pending = set(futures.values())
            while pending:
                finished, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_EXCEPTION)
                self._show(bars)
                self._raise_errors(finished)
                if self._deadline is not None and time.monotonic() > self._deadline:
                    raise Interrupted("the time budget is used up")
                for number, future in futures.items():
                    if future in finished:
                        bars.finish(number)
            self._show(bars)
        return [futures[number].result() for number in range(len(jobs))]

    @contextlib.contextmanager
    def _stopping_on_error(self) -> Iterator[None]:
        try:
            yield
        except BrokenProcessPool:
            raise Interrupted("a worker process died (killed, or out of memory)") from None
        except BaseException:
            self._stop.value = True
            raise

    def _show(self, bars: Any) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                stage, number, tokens = self._messages.get_nowait()
                if stage == self._stage:  # a result may overtake its job's last messages
                    bars.advance(number, tokens)

    @staticmethod
    def _raise_errors(finished: set[Future[Any]]) -> None:
        for future in finished:
            if (error := future.exception()) is not None:
                raise error


@contextlib.contextmanager
def _ctrl_c_held() -> Iterator[None]:
    # Ctrl-C reaches the whole process group, and only the driver is to answer it. Submitting starts workers, which
    # inherit for life what is blocked here, so that not even one that is just being born dies of it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _cuda_devices() -> list[str]:
    if not any(Path(driver).exists() for driver in NVIDIA_DRIVER):
        return []  # without importing torch, which costs the driver seconds
    import torch

    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
