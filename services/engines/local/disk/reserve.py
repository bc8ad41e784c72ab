"""Room that is kept for the state writes of deletes: spare files in DIR/.reserve, given up one by one.

Each holds an inode and 32 KiB, more than a Failure state takes. On a disk that others have filled to the
last byte or the last inode, a delete frees one and writes into its room; one at a time, so that whoever
fills the disk cannot take them all at once. While the server runs, what was given up is made again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import TypeVar

from common import durable
from common.errors import NO_SPACE_ERRNOS
from services.engines.local.disk import layout
from services.engines.local.disk.layout import Layout

SPARES = 32
SPARE_BYTES = 32 << 10
_NAMES = frozenset(map(str, range(SPARES)))

T = TypeVar("T")


def keep(data_dir: Layout) -> bool:
    """Make what is missing of the reserve, as far as the disk has room. Nothing is synced.

    False where something that is not ours has its name: then there is none. Raises OSError for what is no
    lack of room.
    """
    home = data_dir.ours(layout.RESERVE_NAME)
    try:
        if not _make_home(home):
            return False
        for name in sorted(_NAMES.difference(os.listdir(home))):
            _make_spare(f"{home}/{name}")
    except OSError as err:
        if err.errno not in NO_SPACE_ERRNOS:
            raise
    return True


def finding_room(data_dir: Layout, write: Callable[[], T]) -> T:
    """`write`; where the disk has no room for it, again, with one spare file less each time.

    Raises OSError: what `write` raises, once nothing is left to give up.
    """
    while True:
        try:
            return write()
        except OSError as err:
            if err.errno not in NO_SPACE_ERRNOS or not _give_one_up(data_dir):
                raise


def want_room(data_dir: Layout, size_bytes: int) -> None:
    """Tell the gc that so much room was wanted and not there: it may give up what it keeps. A hint; may be
    lost. Raises OSError."""
    path = data_dir.ours(layout.ROOM_WANTED_NAME)
    finding_room(data_dir, lambda: durable.replace(path, b"%d" % size_bytes, synced=False))


def _give_one_up(data_dir: Layout) -> bool:
    """Free one spare file; False where none is left."""
    home = data_dir.ours(layout.RESERVE_NAME)
    try:
        kind = os.lstat(home).st_mode
        if stat.S_ISREG(kind):  # the one file of earlier versions
            durable.remove_file(home)
            return True
        if not stat.S_ISDIR(kind):
            return False
        spare = next(iter(_NAMES.intersection(os.listdir(home))), None)
        if spare is not None:
            durable.remove_file(f"{home}/{spare}")
    except FileNotFoundError:
        return False
    return spare is not None


def _make_home(home: str) -> bool:
    try:
        found = os.lstat(home).st_mode
    except FileNotFoundError:
        durable.make_folder(home)
        return True
    if stat.S_ISREG(found):  # the one file of earlier versions
        durable.remove_file(home)
        durable.make_folder(home)
        return True
    return stat.S_ISDIR(found)


def _make_spare(path: str) -> None:
    fd = durable.create_file(path)
    try:
        durable.allocate(fd, SPARE_BYTES)
    except BaseException:
        durable.remove_file(path)
        raise
    finally:
        os.close(fd)
