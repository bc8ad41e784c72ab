"""Whether what is written to an open file goes past the page cache, straight to the disk."""

from __future__ import annotations

import fcntl
import os


def set_past_cache(fd: int, past_cache: bool) -> bool:
    """From now on writes go past it, or through it. Past it only whole blocks can be written.

    False, and nothing changed, where the file system writes through the page cache alone.
    """
    flags = fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_DIRECT
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | (os.O_DIRECT if past_cache else 0))
    except OSError:
        return False
    return True
