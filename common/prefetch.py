"""Reading ahead on a cold start: after a power cut nothing is in the page cache, and each state is a wait.

The reader goes on as ever; a few threads touch what it is about to read, many waits at a time, but only
while the disk is read at all. In a warm cache threads would only be in each other's way.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from common.layout import Layout

SLICE_BLOBS = 512
_THREADS = 16  # an SSD answers as many at a time nearly as fast as one
_STATE_BYTES = 4096
_SECTORS = 8  # of a page: the kernel counts reads in units of 512 bytes
_COLD_SHARE = 4  # a slice was cold if one blob in so many had to be read from the disk


class Prefetch:
    """Ahead of who reads the blobs `ids`, in this order, and says how far it is. Changes nothing on disk."""

    def __init__(self, where: Layout, ids: Sequence[int]) -> None:
        self._where = where
        self._ids = ids
        self._read_before = _sectors_read()
        self._threads: ThreadPoolExecutor | None = None
        self.slices = 0  # read ahead so far

    def reached(self, done: int) -> None:
        """To be called before each blob; where the last slice was cold, warms the next, and waits for it."""
        if done % SLICE_BLOBS:
            return
        read = _sectors_read()
        is_cold = read - self._read_before > SLICE_BLOBS * _SECTORS // _COLD_SHARE
        self._read_before = read
        if is_cold:
            self.slices += 1
            self._threads = self._threads or ThreadPoolExecutor(_THREADS, "prefetch")
            list(self._threads.map(self._touch, self._ids[done : done + SLICE_BLOBS]))

    def _touch(self, blob_id: int) -> None:
        """What goes wrong here goes wrong for the reader, too, who tells."""
        with contextlib.suppress(OSError):
            os.stat(self._where.data(blob_id), follow_symlinks=False)
            fd = os.open(
                self._where.state(blob_id), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
            try:
                os.read(fd, _STATE_BYTES)
            finally:
                os.close(fd)

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._threads is not None:
            self._threads.shutdown()


def _sectors_read() -> int:
    """What this process, with all its threads, had to read from disks so far, in units of 512 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_inblock
