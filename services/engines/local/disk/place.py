"""Whether the path of a data directory still leads to what was opened.

Where its disk is unmounted an empty folder is left. What is written there would be lost once the disk is
mounted again, and every blob would look damaged.
"""

from __future__ import annotations

import os

from common.errors import Unavailable


class Place:
    """The directory that `root` leads to now. It must stay open elsewhere (the state lock has it), so that
    no other one gets its number. Raises OSError.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._was = _identity(root)
        self.fault = ""  # of the last look: one sentence, fit to be sent to a client
        self.was_lost = False  # in any look

    def look(self) -> str:
        """What is wrong with it, empty for nothing; kept as `fault`. One system call, which may wait."""
        try:
            same = _identity(self._root) == self._was
        except OSError as err:
            self.fault = f"The data directory is gone ({err.strerror}): mount its disk again, or restart."
        else:
            text = "The data directory was unmounted or replaced: mount its disk again, or restart."
            self.fault = "" if same else text
        self.was_lost = self.was_lost or bool(self.fault)
        return self.fault

    def check(self) -> None:
        """Raise Unavailable where the last look found a fault."""
        if self.fault:
            raise Unavailable(self.fault)


def leads_to(root: str, folder_fd: int) -> bool:
    """True where the path `root` leads to this open folder. One system call each."""
    try:
        return os.path.samestat(os.stat(root), os.fstat(folder_fd))
    except OSError:
        return False


def _identity(root: str) -> tuple[int, int]:
    found = os.stat(root)
    return found.st_dev, found.st_ino
