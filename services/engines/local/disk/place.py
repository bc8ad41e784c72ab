"""Checks that the path of a data directory still leads to the opened one, and that it can be written.

When its disk is unmounted an empty folder is left. What is written there would be lost when the disk is
mounted again, and every blob would look damaged. The kernel often remounts a failing disk read-only.
"""

from __future__ import annotations

import os

from common.errors import Unavailable

READ_ONLY_TEXT = "The data directory is read-only: blobs can be read. Mount its disk for writing, to write."
_GONE_TEXT = "The data directory was unmounted or replaced: mount its disk again, or restart."
_BACK_TEXT = "The data directory can be used again: the server starts anew, to know what is on it."


class Place:
    """The directory that `root` leads to now. It must stay open elsewhere (the state lock has it), so that
    no other one gets its inode number. Raises OSError.

    `read_only`: it was opened read-only. The server then knows too little to write, even when that is
    possible.
    """

    def __init__(self, root: str, *, read_only: bool = False) -> None:
        self._root = root
        self._was = _identity(root)
        self.fault = READ_ONLY_TEXT if read_only else ""  # of the last look: one sentence, fit for a client
        self.is_gone = False  # at the last look
        self.was_lost = read_only  # in any look, or never had: a start is needed

    def look(self) -> str:
        """What is wrong with it, empty for nothing; kept as `fault`. Two system calls, which may block."""
        try:
            is_gone = _identity(self._root) != self._was
        except OSError as err:
            is_gone = True
            fault = f"The data directory is gone ({err.strerror}): mount its disk again, or restart."
        else:
            fault = _GONE_TEXT if is_gone else "" if os.access(self._root, os.W_OK) else READ_ONLY_TEXT
        self.is_gone, self.fault = is_gone, fault
        self.was_lost = self.was_lost or bool(fault)
        return fault

    def check(self) -> None:
        """Raise Unavailable if any look found a fault: after that only a start knows enough to write."""
        if self.fault or self.was_lost:
            raise Unavailable(self.fault or _BACK_TEXT)


def leads_to(root: str, folder_fd: int) -> bool:
    """True where the path `root` leads to this open folder. One system call each."""
    try:
        return os.path.samestat(os.stat(root), os.fstat(folder_fd))
    except OSError:
        return False


def _identity(root: str) -> tuple[int, int]:
    found = os.stat(root)
    return found.st_dev, found.st_ino
