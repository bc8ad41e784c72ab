"""Bytes that nobody can change any more: a memfd with all seals. `sendfile` sends them without a copy.

Its pages are shared memory of the system: a container's limit counts them, this process's resident memory
does not.
"""

from __future__ import annotations

import fcntl
import os

from common.checksum import Bytes

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def memory_bytes(size: int) -> int:
    """The memory of so many sealed bytes: whole pages."""
    return -(-size // PAGE_BYTES) * PAGE_BYTES


class Sealed:
    """A copy of `data`. It takes one descriptor, which is closed when nothing refers to this object.

    Raises OSError where no descriptor or no memory is left.
    """

    __slots__ = ("fd", "size")

    def __init__(self, data: Bytes) -> None:
        self.size = len(data)
        self.fd = -1
        self.fd = os.memfd_create("blobkeep", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        left = memoryview(data)
        while left:
            left = left[os.write(self.fd, left) :]
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, SEALS)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    def read(self, at: int, count: int) -> bytes:
        """`count` of its bytes, from number `at` on."""
        return os.pread(self.fd, count, at)
