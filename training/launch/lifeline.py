"""Workers end with their driver, however it ended, and the next driver does not begin before they have.

A worker whose driver was killed would otherwise train on, write into the same branches as the run that continues, and
keep its memory for ever. The operating system closes the pipe that ``multiprocessing`` holds between the two when
either dies, on Linux and macOS alike; a lock shared by the workers tells the next driver when the last one is gone.
"""

import fcntl
import multiprocessing
import os
import threading
from pathlib import Path

KILLED = 137  # the code of a process that SIGKILL ended, as a shell reports it


def end_with_driver(lock: Path) -> None:
    """Tie this worker to the process that started it; called once, first of all.

    Args:
        lock: file that this process holds, shared with the other workers, for as long as it lives.
    """
    driver = multiprocessing.parent_process()
    assert driver is not None, "only a worker has a driver"
    threading.Thread(target=_outlive_nothing, args=(driver,), daemon=True).start()
    # Never closed: the lock goes when the process does, whatever it was in the middle of.
    fcntl.flock(os.open(lock, os.O_RDWR | os.O_CREAT, 0o666), fcntl.LOCK_SH)
    # A driver that died before the lock was held may have a successor that found no worker and began.
    if not driver.is_alive():
        os._exit(KILLED)


def _outlive_nothing(driver: multiprocessing.process.BaseProcess) -> None:
    driver.join()
    os._exit(KILLED)
