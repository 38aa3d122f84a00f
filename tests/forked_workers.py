"""Worker processes that need not import torch and transformers, which takes each of them seconds.

They are forked from a server that has imported both, runs on one thread and has done nothing else. Each is a process
like one that is started anew: with its own memory, signals and end. How those start is tested where it matters, in
:mod:`tests.training.test_launch` and by every run that is killed.
"""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

IMPORTED = [
    "training.branches.train",
    "training.evaluation.evaluate",
    "training.model.start",
    "training.conflicts.task_pass",
    "transformers.models.llama.modeling_llama",
]


@contextmanager
def forked_workers() -> Iterator[None]:
    """Inside, a pool of any start method forks its workers from the server; one serves this process until it ends."""
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(IMPORTED)
    with mock.patch.object(multiprocessing, "get_context", return_value=forking):
        yield
