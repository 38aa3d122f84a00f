"""Being stopped: not an error, and nothing is lost."""

import signal
from typing import NoReturn


class Interrupted(Exception):
    """Work stopped before its end in a state that the same command continues from; commands exit with code 130."""


def answer_termination() -> None:
    """Have SIGTERM, which `kill` and schedulers send, stop this process as Ctrl-C does: at the next checkpoint."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt  # which no library takes for an error of its own, as it would an Interrupted
