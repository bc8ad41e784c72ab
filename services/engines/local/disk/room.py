"""How much room a file system has, in bytes and in inodes, and what uploads must leave of it for deletes."""

from __future__ import annotations

import os
from typing import NamedTuple

# So many deletes can be under way at once, with what the gc and our own files take. Of a file system that
# has few inodes, an eighth.
MIN_FREE_INODES = 1024
_SHARE = 8


class Room(NamedTuple):
    """One look. `inodes`: how many there are in all, 0 where the file system makes them as it needs them
    (btrfs) or does not say; `free_inodes` then says nothing.
    """

    size_bytes: int
    free_bytes: int
    inodes: int
    free_inodes: int

    @property
    def min_free_inodes(self) -> int:
        """What uploads must leave; 0 where there is no limit."""
        return min(MIN_FREE_INODES, self.inodes // _SHARE)


def look(path: str) -> Room:
    """The room of the file system of `path`. Raises OSError."""
    disk = os.statvfs(path)
    return Room(disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize, disk.f_files, disk.f_favail)
