"""Blobs that come in any order, in limited memory, and back in order: for the first run of an index.

Some blobs at a time are sorted and written to a file without a name; in the end all files are read at once.
Nothing in them has to outlive the process. Each part has a checksum, since it decides what is served.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from operator import attrgetter

import msgspec
from crc32c import crc32c

from common import durable
from services.engines.local.disk.blob import Blob
from services.engines.local.index.format import FRAME, IndexDamaged

_PART_BLOBS = 64  # of each file so many are in memory
_FILES = 256  # that are read at once: more become one
_WRITE_BYTES = 1 << 20

_location = attrgetter("location")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Blob]).decode


class Spills:
    """For a `with` statement, which frees the disk. `free_path` gives a path that nobody uses.

    Its methods raise OSError, and IndexDamaged if what is read is not what was written.
    """

    def __init__(self, free_path: Callable[[], str]) -> None:
        self._free_path = free_path
        self._files: list[int] = []  # descriptors
        self.count = 0  # of the blobs that were added

    def add(self, blobs: Iterable[Blob]) -> None:
        """Write some more blobs, in any order."""
        some = sorted(blobs, key=_location)
        if len(self._files) >= _FILES:
            one = self._written(self._in_order())
            self._close()
            self._files.append(one)
        self._files.append(self._written(iter(some)))
        self.count += len(some)

    def rivals(self, more: Iterable[Blob]) -> Iterator[list[Blob]]:
        """By location, in order: all its blobs. `more`: blobs that were not added."""
        every = heapq.merge(self._in_order(), sorted(more, key=_location), key=_location)
        return (list(group) for _, group in groupby(every, _location))

    def __enter__(self) -> Spills:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        for fd in self._files:
            os.close(fd)
        self._files = []

    def _in_order(self) -> Iterator[Blob]:
        return heapq.merge(*map(_read, self._files), key=_location)

    def _written(self, blobs: Iterator[Blob]) -> int:
        fd = durable.scratch_file(self._free_path())
        try:
            held = bytearray()
            while some := list(islice(blobs, _PART_BLOBS)):
                payload = _encode(some)
                held += FRAME.pack(len(payload), crc32c(payload)) + payload
                if len(held) >= _WRITE_BYTES:
                    durable.write_all(fd, held)
                    held = bytearray()
            durable.write_all(fd, held)
        except BaseException:
            os.close(fd)
            raise
        return fd


def _read(fd: int) -> Iterator[Blob]:
    at = 0
    while head := os.pread(fd, FRAME.size, at):
        length, found = FRAME.unpack(head.ljust(FRAME.size, b"\0"))
        payload = os.pread(fd, length, at + FRAME.size)
        if len(payload) != length or crc32c(payload) != found:
            raise IndexDamaged("What was written to sort the blobs is not what is read.")
        yield from _decode(payload)
        at += FRAME.size + length
