"""Room on the disk that is kept for the state writes of some deletes, and given up when the disk is full."""

from __future__ import annotations

import os

from common import durable
from common.errors import NO_SPACE_ERRNOS
from services.engines.local.disk import layout
from services.engines.local.disk.layout import Layout

RESERVE_BYTES = 1 << 20


def keep(data_dir: Layout) -> None:
    """Make the reserve, if it is not there and the disk has room for it."""
    path = data_dir.ours(layout.RESERVE_NAME)
    if os.path.exists(path):
        return
    try:
        fd = durable.create_file(path)
    except OSError as err:
        if err.errno in NO_SPACE_ERRNOS:
            return
        raise
    try:
        durable.allocate(fd, RESERVE_BYTES)
    except OSError:
        durable.remove_file(path)
    finally:
        os.close(fd)


def give_up(data_dir: Layout) -> bool:
    """Free the reserve; False where there is none left."""
    try:
        durable.remove_file(data_dir.ours(layout.RESERVE_NAME))
    except FileNotFoundError:
        return False
    return True
