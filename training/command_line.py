"""What every command line here has in common: its console, and how it ends."""

import errno
import sys
from typing import Any

import typer
from rich.console import Console

from training.errors import InputError
from training.interruption import Interrupted, answer_termination

UsageError: Any = typer.BadParameter.__base__
"""Typer brings its own copy of click or uses the installed one, by version; this is the right one's."""

UNUSABLE_PATH = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)
"""A path given by the user, or below one, that the system refuses."""

CTRL_C = 130


def console() -> Console:
    """A console that prints names and paths as they are: no markup, emoji, colours for numbers or line breaks."""
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


def run_command(app: typer.Typer) -> None:
    """Run a command line; one line on stderr and exit code 2 for bad input, 130 for an interruption."""
    answer_termination()
    try:
        if app(standalone_mode=False) == CTRL_C:  # how newer versions of Typer hand on a KeyboardInterrupt
            raise KeyboardInterrupt
    except InputError as error:
        _end(f"error: {error}", 2)
    except OSError as error:
        if error.errno not in UNUSABLE_PATH or error.filename is None:
            raise
        _end(f"error: {error.filename}: {error.strerror}; give a path that can be used", 2)
    except UsageError as error:
        _end(f"error: {error.format_message().rstrip('.') or 'no command'}; see --help", 2)
    except (Interrupted, KeyboardInterrupt, typer.Abort) as stop:
        _end(f"stopped: {str(stop) or 'interrupted'}; run the same command to continue", CTRL_C)


def _end(message: str, code: int) -> None:
    typer.echo(" ".join(line.strip() for line in message.splitlines()), err=True)
    sys.exit(code)
