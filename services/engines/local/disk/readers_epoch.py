"""`.readers`: eight bytes, in which reader processes see whether what a server shared with them still holds.

A server shares a table of its blobs with its readers, under a random number, the epoch. The file holds it,
and each reader maps the file. Readers outlive the server, and go on to answer from its table: nobody can
write meanwhile. So whoever takes the state lock (design rule 1) makes the epoch 0 before it may write, and
from that moment no reader answers from the old table, whatever it was doing.
"""

from __future__ import annotations

import os
import secrets
import sys

from common import durable
from common.ours import read_ours
from services.engines.local.disk import layout

SIZE_BYTES = 8


def end(root: str) -> None:
    """No table of the directory `root` holds any more. Call it with the state lock held. Raises OSError.

    Changes nothing where there is none, so that an idle disk sleeps on.
    """
    path = f"{root}/{layout.READERS_NAME}"
    try:
        holds = any(read_ours(path, SIZE_BYTES))
    except FileNotFoundError:
        return
    if holds:
        fd = durable.open_in_place(path)
        try:
            end_in(fd)
        finally:
            os.close(fd)


def end_in(fd: int) -> None:
    """The same of the open file `fd`, wherever it stands. Raises OSError."""
    durable.write_at(fd, bytes(SIZE_BYTES), 0)


def is_in_place(root: str, file: os.stat_result) -> bool:
    """Whether `file` is still the one that the next holder of the state lock of `root` makes 0."""
    try:
        return os.path.samestat(os.lstat(f"{root}/{layout.READERS_NAME}"), file)
    except OSError:
        return False


def begin(root: str) -> tuple[int, int]:
    """A new epoch: the number, and the file, open for writing. Call it with the state lock held.

    The file is made where there is none, and never replaced: readers have it mapped. Raises OSError.
    """
    path = f"{root}/{layout.READERS_NAME}"
    epoch = secrets.randbits(63) + 1
    fd = durable.open_lock_file(path)
    try:
        durable.write_at(fd, epoch.to_bytes(SIZE_BYTES, sys.byteorder), 0)
    except BaseException:
        os.close(fd)
        raise
    return epoch, fd
