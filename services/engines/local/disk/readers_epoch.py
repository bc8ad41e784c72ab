"""`.readers`: eight bytes that tell reader processes whether the table which a server shared is still valid.

A server shares a table of its blobs with its readers, under a random number, the epoch. The file has the
epoch, and each reader maps the file. Readers outlive the server and go on to answer from its table, since
nobody can write meanwhile. The next holder of the state lock (design rule 1) sets the epoch to 0 before it
may write. From that moment no reader answers from the old table.
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
    """Make every table of the directory `root` void. Call it with the state lock held. Raises OSError.

    Changes nothing if there is none, so that an idle disk may sleep.
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
    """Make the table void through the open file `fd`, wherever it is now. Raises OSError."""
    durable.write_at(fd, bytes(SIZE_BYTES), 0)


def is_in_place(root: str, file: os.stat_result) -> bool:
    """Whether `file` is still the one that the next holder of the state lock of `root` sets to 0."""
    try:
        return os.path.samestat(os.lstat(f"{root}/{layout.READERS_NAME}"), file)
    except OSError:
        return False


def begin(root: str) -> tuple[int, int]:
    """A new epoch: the number, and the file, open for writing. Call it with the state lock held.

    The file is made if there is none, and never replaced, since readers have it mapped. Raises OSError.
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
