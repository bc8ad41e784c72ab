"""Room for the state writes of deletes: spare files in DIR/.reserve, given up one by one.

Each holds an inode and 32 KiB, more than a Failure state takes. On a disk that other programs have filled to
the last byte or inode, a delete frees one file and writes into its room. It frees only one at a time, so that
another program cannot take them all. While the server runs, the missing files are made again.
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
    """Make the missing files of the reserve, as far as the disk has room. Nothing is synced.

    False if something foreign has its name: then there is no reserve. Raises OSError for all but a lack of
    room.
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
    """Call `write`; if the disk has no room, again, with one spare file less each time.

    Raises what `write` raises, OSError when nothing is left to give up.
    """
    while True:
        try:
            return write()
        except OSError as err:
            if err.errno not in NO_SPACE_ERRNOS or not _give_one_up(data_dir):
                raise


def want_room(data_dir: Layout, size_bytes: int) -> None:
    """Tell the gc that so much room was missing, so that it may remove kept blobs. A hint, which may be lost.
    Raises OSError."""
    path = data_dir.ours(layout.ROOM_WANTED_NAME)
    finding_room(data_dir, lambda: durable.replace(path, b"%d" % size_bytes, synced=False))


def _give_one_up(data_dir: Layout) -> bool:
    """Free one spare file; False if none is left."""
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
