"""Writes past the page cache that the kernel does while the caller goes on (Linux AIO).

A thread that writes past the page cache sleeps until the disk has the bytes. So it can hash them meanwhile. A
second thread would have to get the processor first. For `common.durable` alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
import threading
from typing import Protocol

from common.checksum import Bytes

# The numbers of io_setup, io_submit and io_getevents, where a program has 64 bits. -1: no such call.
_NUMBERS = {"x86_64": (206, 209, 208), "aarch64": (0, 2, 4), "riscv64": (0, 2, 4)}
_MACHINE = platform.machine() if sys.maxsize > 1 << 32 else ""
_SET_UP, _SUBMIT, _GET_EVENTS = map(ctypes.c_long, _NUMBERS.get(_MACHINE, (-1, -1, -1)))
_PWRITE = 1  # IOCB_CMD_PWRITE

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_here = threading.local()  # `queue`: the kernel's queue of this thread, None where it gives none


class _Request(ctypes.Structure):
    """`struct iocb` of a little-endian machine."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("rw_flags", ctypes.c_int32),
        ("opcode", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("fd", ctypes.c_uint32),
        ("address", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("event_fd", ctypes.c_uint32),
    )


class _Event(ctypes.Structure):
    """`struct io_event`."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("request", ctypes.c_uint64),
        ("result", ctypes.c_int64),
        ("result2", ctypes.c_int64),
    )


class Begun(Protocol):
    """A write under way. Its memory must stay as it is until `wait`, which its own thread must call."""

    def wait(self) -> int:
        """Wait until it is over; returns how many bytes were written. Raises OSError."""


class _Write:
    """See Begun."""

    def __init__(self, queue: ctypes.c_ulong, memory: object) -> None:
        self._queue = queue
        self._memory = memory

    def wait(self) -> int:
        """See Begun."""
        event = _Event()
        one = ctypes.c_long(1)
        while _syscall(_GET_EVENTS, self._queue, one, one, ctypes.byref(event), None) != 1:
            error = ctypes.get_errno()
            if error != errno.EINTR:
                raise OSError(error, os.strerror(error))
        self._memory = None
        if event.result < 0:
            raise OSError(-event.result, os.strerror(-event.result))
        return int(event.result)


def begin(fd: int, data: Bytes, offset: int) -> Begun | None:
    """Begin to write `data` at `offset`; one at a time in a thread. None: not possible, nothing was done."""
    queue = _queue()
    if queue is None:
        return None
    try:
        memory = (ctypes.c_char * len(data)).from_buffer(data)
    except TypeError:  # bytes that cannot be written to have no address for us
        return None
    request = _Request(opcode=_PWRITE, fd=fd, address=ctypes.addressof(memory), size=len(data), offset=offset)
    pointer = ctypes.pointer(request)
    if _syscall(_SUBMIT, queue, ctypes.c_long(1), ctypes.byref(pointer)) != 1:
        return None
    return _Write(queue, memory)


def _queue() -> ctypes.c_ulong | None:
    try:
        queue: ctypes.c_ulong | None = _here.queue
    except AttributeError:
        queue = _here.queue = _new_queue()
    return queue


def _new_queue() -> ctypes.c_ulong | None:
    queue = ctypes.c_ulong(0)
    return queue if _syscall(_SET_UP, ctypes.c_long(1), ctypes.byref(queue)) == 0 else None
