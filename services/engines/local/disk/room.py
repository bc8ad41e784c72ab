"""How much room a file system has, in bytes and in inodes, and what uploads must leave of it for deletes."""

from __future__ import annotations

import os
from typing import NamedTuple

# Enough for so many deletes at once, and for the gc and our own files. On a file system with few inodes: an
# eighth of them.
MIN_FREE_INODES = 1024
_SHARE = 8


class Room(NamedTuple):
    """The room at one moment. `inodes`: how many there are in all; 0 if the file system makes them as needed
    (btrfs) or does not say, and then `free_inodes` means nothing.
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
