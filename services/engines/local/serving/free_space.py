"""Whether the disk has room for one more body: asks the file system now and then, and counts in between."""

from __future__ import annotations

import sys
import time

from common.errors import BlobkeepError, NoSpace, from_os_error
from services.engines.local.disk import room

# The file system is asked again after this time. That costs 3 µs on the event loop, which then waits for the
# interpreter's lock: a third of the loop's work for a small create.
_BELIEVED_S = 0.1
# What one upload takes besides its body: a folder and a state file, and the rest of the body's last block.
_BLOB_BYTES = 12 << 10
# A folder, a state and data; and the Failure state of a blob that it replaces.
_BLOB_INODES = 4
_FAILURE_BYTES, _FAILURE_INODES = 4 << 10, 1  # what a delete takes until the gc has been there


class FreeSpace:
    """Room on the file system of `path`, of which `min_free_bytes` must stay free, and some inodes.

    A hint: other programs fill the disk, too, so an accepted upload may still fail on a full disk.
    """

    def __init__(self, path: str, min_free_bytes: int) -> None:
        self._path = path
        self._min_free_bytes = min_free_bytes
        self._left_bytes = 0
        self._left_inodes = 0
        self._looked_at = -_BELIEVED_S
        self._wanted_bytes = 0  # of the largest that was refused

    def take_wanted(self) -> int:
        """The largest size that was refused for lack of room since the last call; 0: none was.

        Any thread may call it. One that is refused at that very moment may be missed.
        """
        wanted, self._wanted_bytes = self._wanted_bytes, 0
        return wanted

    def check(self, size_bytes: int, *, more_bytes: int = _BLOB_BYTES, inodes: int = _BLOB_INODES) -> None:
        """Count an upload of `size_bytes` in, and what it takes besides its body.

        Raises NoSpace, after a fresh look, if it does not fit; StorageFailed if the disk is gone.
        """
        size_bytes += more_bytes
        now = time.monotonic()
        fits = self._left_bytes >= size_bytes and self._left_inodes >= inodes
        if not fits or now - self._looked_at >= _BELIEVED_S:
            self._look(size_bytes, inodes)
            self._looked_at = now
        self._left_bytes -= size_bytes
        self._left_inodes -= inodes

    def check_more(self, size_bytes: int) -> None:
        """Count further bytes of an upload in, which has its inodes already. Raises as `check`."""
        self.check(size_bytes, more_bytes=0, inodes=0)

    def is_short_after_delete(self) -> bool:
        """Count a delete in; True where so little is left that it had better leave nothing behind."""
        try:
            self.check(0, more_bytes=_FAILURE_BYTES, inodes=_FAILURE_INODES)
        except BlobkeepError:
            return True
        return False

    def _look(self, size_bytes: int, inodes: int) -> None:
        try:
            found = room.look(self._path)
        except OSError as err:
            raise from_os_error(err, "look at the room on its disk") from err
        self._left_bytes = found.free_bytes - self._min_free_bytes
        self._left_inodes = found.free_inodes - found.min_free_inodes if found.inodes else sys.maxsize
        if self._left_bytes < size_bytes:
            self._wanted_bytes = max(self._wanted_bytes, size_bytes)
            raise NoSpace("The disk has no room for this body: delete blobs or add space, then try again.")
        if self._left_inodes < inodes:
            raise NoSpace(
                f"The disk has {found.free_inodes} inodes left, and {found.min_free_inodes} are kept for "
                "deletes: delete blobs, or move to a file system with more inodes, then try again."
            )
