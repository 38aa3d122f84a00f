"""A full disk, however the write that met it reports it: one sentence that says where space is missing."""

import contextlib
import errno
import re
from collections.abc import Iterator
from pathlib import Path

from training.errors import InputError

FULL = {errno.ENOSPC, errno.EDQUOT}
NUMBER_IN_RUST = re.compile(r"\(os error (\d+)\)")
"""safetensors and tokenizers raise types of their own, with the number in the text alone."""


def is_disk_full(error: BaseException) -> bool:
    """Whether a write failed for want of space, or ``error`` was raised while such a failure was handled.

    >>> is_disk_full(OSError(errno.ENOSPC, "No space left on device")), is_disk_full(OSError(errno.EIO, "I/O error"))
    (True, False)
    """
    link: BaseException | None = error
    while link is not None:
        found = NUMBER_IN_RUST.search(str(link))
        number = link.errno if isinstance(link, OSError) else int(found[1]) if found else None
        if number in FULL:
            return True
        link = link.__cause__ or link.__context__
    return False


@contextlib.contextmanager
def full_disk_told(place: Path) -> Iterator[None]:
    """Turn a full disk inside the block into an :class:`InputError` that names ``place``, what was being written."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise InputError(f"no space left to write {place}; free some and run the same command to continue") from None
