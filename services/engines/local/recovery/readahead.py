"""Reads ahead on a cold start: after a power cut the page cache is empty, and each state waits for the disk.

The scan goes on as before. A few threads read what it will need next, so that many waits overlap. They do so
only while the disk is really read: in a warm cache the threads would only slow each other down.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.ours import OPEN_FLAGS
from services.engines.local.disk.layout import Layout

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_THREADS = 16  # an SSD answers as many at a time nearly as fast as one
_STATE_BYTES = 4096
_SECTORS = 8  # of a page: the kernel counts reads in units of 512 bytes
_COLD_SHARE = 4  # a slice was cold if one blob in so many had to be read from the disk


class Readahead:
    """Used by the scan, which reads the blobs of one slice after the other. Changes nothing on disk."""

    def __init__(self, data_dir: Layout) -> None:
        self._data_dir = data_dir
        self._read_before = _sectors_read()
        self._blobs_before = 0  # in the last slice
        self._threads: ThreadPoolExecutor | None = None
        self.slices = 0  # read ahead so far

    def before(self, ids: Sequence[int]) -> None:
        """Call it before each slice. If the last slice was cold, read this one ahead, and wait for that."""
        read = _sectors_read()
        is_cold = read - self._read_before > self._blobs_before * _SECTORS // _COLD_SHARE
        self._read_before, self._blobs_before = read, len(ids)
        if is_cold:
            self.slices += 1
            self._threads = self._threads or _threads()
            list(self._threads.map(self._touch, ids))

    def _touch(self, blob_id: int) -> None:
        """Errors are ignored here: the scan meets them again, and reports them."""
        with contextlib.suppress(OSError):
            os.stat(self._data_dir.data(blob_id), follow_symlinks=False)
            fd = os.open(self._data_dir.state(blob_id), OPEN_FLAGS)
            try:
                os.read(fd, _STATE_BYTES)
            finally:
                os.close(fd)

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown()


def _threads() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # a warm start does without

    return ThreadPoolExecutor(_THREADS, "readahead")


def _sectors_read() -> int:
    """How much this process, with all its threads, has read from disks, in units of 512 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_inblock
