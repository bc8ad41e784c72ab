"""The server's hints for the gc: ids of blobs that became Failure, in a file, one a line.

While no gc runs the file grows, by millions of lines if need be. So it is read a piece at a time. It is taken
by a rename, and removed when its end was reached: a gc that dies before that leaves it to the next one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from common import durable
from common.errors import DISK_ERRNOS, FOREIGN_ERRNOS
from common.ours import open_ours
from services.engines.local.disk import blob_folder, layout
from services.engines.local.disk.layout import Layout

PIECE_BYTES = 256 << 10  # some 30,000 ids: 6 MB of memory


class Hints:
    """The hints of one directory. `say`: told why they cannot be read."""

    def __init__(self, data_dir: Layout, say: Callable[[str], None]) -> None:
        self._told = data_dir.ours(layout.HINTS_NAME)
        self._taken = data_dir.ours(layout.HINTS_TAKEN_NAME)
        self._say = say
        self._at = 0  # what was read of the file that was taken

    def pieces(self) -> Iterator[list[int]]:
        """All ids, some at a time. A piece whose successor is never asked for is given again next time.

        Raises OSError if a resource other than the disk lacks.
        """
        while (content := self._read()) is not None:
            is_last = len(content) < PIECE_BYTES
            end = len(content) if is_last else content.rfind(b"\n") + 1 or len(content)
            lines = content[:end].split()
            yield list(dict.fromkeys(int(line) for line in lines if line.isdigit() and len(line) <= 10))
            self._at += end
            if is_last:
                self._forget()
                return

    def _read(self) -> bytes | None:
        try:
            if not os.path.lexists(self._taken):  # else one that an earlier gc died over
                durable.rename(self._told, self._taken)
                self._at = 0
            fd = open_ours(self._taken)
            try:
                return os.pread(fd, PIECE_BYTES, self._at)
            finally:
                os.close(fd)
        except FileNotFoundError:
            return None
        except OSError as err:
            if err.errno not in FOREIGN_ERRNOS | DISK_ERRNOS:
                raise
            self._say(
                f"{os.path.basename(self._taken)} cannot be read: going on without hints: {err.strerror}"
            )
            self._forget()
            return None

    def _forget(self) -> None:
        self._at = 0
        if os.path.lexists(self._taken) and not blob_folder.is_folder(self._taken):
            durable.remove_file(self._taken)
