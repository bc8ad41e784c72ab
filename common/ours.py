"""Opens and reads our files in a data directory, whatever is in their place.

Somebody who may write there can put a link, a pipe, a device or a sparse file of a terabyte under one of our
names. So links are not followed, pipes are not waited for, and no more is read than our file can have.
"""

from __future__ import annotations

import errno
import os
import stat

# For the few places that must open in one system call; they read only a limited part of the file.
OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# One read of a small file: 4 KiB hold the state of a blob up to 100 MiB.
_FIRST_BYTES = 4 << 10


def open_ours(path: str) -> int:
    """Open a plain file for reading; returns its descriptor.

    Raises OSError; one of errors.FOREIGN_ERRNOS where something else stands there.
    """
    fd = os.open(path, OPEN_FLAGS)
    try:
        _must_be_plain(os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_ours(path: str, max_bytes: int) -> bytes:
    """All of a file of at most `max_bytes`. A short one costs three system calls: open, read, close.

    Raises OSError; one of errors.FOREIGN_ERRNOS where something else stands there, or a longer file.
    """
    fd = os.open(path, OPEN_FLAGS)
    try:
        content = os.read(fd, min(_FIRST_BYTES, max_bytes + 1))
        if len(content) < min(_FIRST_BYTES, max_bytes + 1):
            return content
        found = os.fstat(fd)
        _must_be_plain(found)
        if found.st_size > max_bytes or len(content) > max_bytes:
            raise OSError(errno.EFBIG, f"it has {found.st_size} bytes, more than such a file can have")
        parts = [content]
        left_bytes = max_bytes + 1 - len(content)  # it may grow while it is read
        while left_bytes and (part := os.read(fd, min(left_bytes, max(found.st_size, _FIRST_BYTES)))):
            parts.append(part)
            left_bytes -= len(part)
        if not left_bytes:
            raise OSError(errno.EFBIG, f"it has over {max_bytes} bytes, more than such a file can have")
        return b"".join(parts)
    except BlockingIOError as err:  # only a pipe says so
        raise OSError(errno.ENXIO, "it is no plain file") from err
    finally:
        os.close(fd)


def read_at(fd: int, view: memoryview, offset: int) -> int:
    """Fill `view` from `offset` on; returns how many bytes there were, fewer only at the end of the file.

    One call may give less before a sector that cannot be read. Raises OSError for such a sector.
    """
    got = os.preadv(fd, [view], offset)
    while 0 < got < len(view) and (more := os.preadv(fd, [view[got:]], offset + got)):
        got += more
    return got


def _must_be_plain(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.ENXIO, "it is no plain file")
