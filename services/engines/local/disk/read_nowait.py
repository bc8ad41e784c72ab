"""Reads a small file only if that need not wait for the disk, so that an event loop may do it.

A thread would cost ten times the read. Linux has flags for that: RESOLVE_CACHED (5.12) for the name and the
inode, RWF_NOWAIT for the bytes.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Callable
from typing import cast

from common.ours import OPEN_FLAGS
from common.read_buffer import ROOM_BYTES, ReadBuffer, read_buffer


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


# PyDLL keeps the interpreter's lock: the call does not wait. Its arguments are made once: that, and not
# declaring their types, makes it cost 1.5 µs more than os.open instead of 6.
_syscall = ctypes.PyDLL(None).syscall
_syscall.restype = ctypes.c_long
_openat2 = ctypes.c_long(437)  # on every architecture that is alive
_at_fdcwd = ctypes.c_long(-100)
_how = _OpenHow(OPEN_FLAGS, 0, 0x20)  # RESOLVE_CACHED
_how_ref = ctypes.byref(_how)
_how_bytes = ctypes.c_size_t(ctypes.sizeof(_OpenHow))
# os.fsencode, which looks them up at each call, takes four calls for this one.
_encoding, _errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

_MOST_BYTES = 64 << 10
_MOST = 8  # so many answers wait for each other before they are sent


class _Place:
    """Memory for one file after the other, and its parts for files of the size that was read last."""

    __slots__ = ("body", "buffer", "into", "memory", "size")

    def __init__(self, most_bytes: int) -> None:
        self.memory = read_buffer(most_bytes + 1)
        self.buffer = cast(ReadBuffer, self.memory.obj)
        self.fit(0)

    def fit(self, size: int) -> None:
        """Have the parts for `size` bytes: files of one store often have one size."""
        self.size = self.buffer.body_bytes = size
        self.body = self.memory[ROOM_BYTES : ROOM_BYTES + size]
        self.into = (self.memory[ROOM_BYTES : ROOM_BYTES + size + 1],)  # one byte more, to see that it ends


# For the event loop alone: the place that was used last, and all.
_place = _Place(_MOST_BYTES)
_places = [_place]


def _open_cached(path: str) -> int:
    """A descriptor; -1 if the disk is needed, or the file does not exist."""
    return _syscall(_openat2, _at_fdcwd, path.encode(_encoding, _errors), _how_ref, _how_bytes)  # type: ignore[no-any-return]


def _open_plainly(path: str) -> int:
    try:
        return os.open(path, OPEN_FLAGS)
    except OSError:
        return -1


# A system without openat2, or one that forbids it: to open a file there may wait for its inode.
def _choose() -> Callable[[str], int]:
    fd = _open_cached("/")
    if fd < 0:
        return _open_plainly
    os.close(fd)
    return _open_cached


_open = _choose()


def open_nowait(path: str) -> int:
    """A descriptor of the plain file `path`; -1 if the disk is needed, or there is no plain file.

    After -1, open it in a thread to find out.
    """
    fd = _open(path)
    if fd >= 0 and not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return -1
    return fd


def read_file_nowait(path: str, size: int) -> memoryview | None:
    """The `size` bytes of the file `path`; None if that would wait, or the file has another size.

    They are in a buffer that the next call uses again, unless it is lent then: copy what is to stay. After
    None, read it in a thread to find out.
    """
    fd = _open(path)
    if fd < 0:
        return None
    try:
        place = _place if size <= _MOST_BYTES and not _place.buffer.is_lent else _other(size)
        if place.size != size:
            place.fit(size)
        got = os.preadv(fd, place.into, 0, os.RWF_NOWAIT)
    except OSError:
        return None
    finally:
        os.close(fd)
    return place.body if got == size else None


def _other(size: int) -> _Place:
    """One that is not lent, in place of one that is; or one for more bytes, for once."""
    global _place
    if size > _MOST_BYTES:
        return _Place(size)
    for place in _places:
        if not place.buffer.is_lent:
            break
    else:
        place = _Place(_MOST_BYTES)  # its pages are filled with zeros first
        if len(_places) >= _MOST:
            del _places[0]  # it stays with whoever has it, a slow client perhaps
        _places.append(place)
    _place = place
    return place
