"""Whether the disk has room for one more body: a look at the file system now and then, sums in between."""

from __future__ import annotations

import os
import time

from common.errors import NoSpace, from_os_error

# So long one look is believed. A look on the event loop costs 3 µs, and waits for the interpreter's lock
# after it: a third of what the loop has to do for a small create.
_BELIEVED_S = 0.1


class FreeSpace:
    """Room on the file system of `path`, of which `min_free_bytes` must stay free.

    A hint: other programs fill the disk, too; what it let pass may meet a full disk and then fails there.
    """

    def __init__(self, path: str, min_free_bytes: int) -> None:
        self._path = path
        self._min_free_bytes = min_free_bytes
        self._left_bytes = 0
        self._looked_at = -_BELIEVED_S

    def check(self, size_bytes: int) -> None:
        """Count a body of `size_bytes` in.

        Raises NoSpace, after a fresh look, where it does not fit; StorageFailed where the disk is gone.
        """
        now = time.monotonic()
        if now - self._looked_at >= _BELIEVED_S or self._left_bytes < size_bytes:
            try:
                disk = os.statvfs(self._path)
            except OSError as err:
                raise from_os_error(err, "look at the room on its disk") from err
            self._left_bytes = disk.f_bavail * disk.f_frsize - self._min_free_bytes
            self._looked_at = now
            if self._left_bytes < size_bytes:
                raise NoSpace(
                    "The disk has no room for this body: delete blobs or add space, then try again."
                )
        self._left_bytes -= size_bytes
