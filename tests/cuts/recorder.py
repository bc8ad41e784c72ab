"""Records every disk operation of real processes, in one common order.

`common.durable` is the only module that changes the disk, and it does so through its own `os` and `_libc`.
`install` puts recorders in the place of these two: each call is made and written to a shared log under one
lock, so the log's order is the order in which the calls took effect. A sync takes time: its begin and its end
are two entries, and it does not cover what was done in between. A call that has no recorder here raises an
error, and `tests/cuts/test_power_cuts.py` compares the replayed log with the real directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import random
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec

from common import durable
from tests.support.disk_calls import WriteAtItsEnd

# What `durable` uses of `os` that does not change the disk.
_HARMLESS = frozenset(
    {"path", "scandir", "close", "strerror", "fspath", "fsencode", "stat", "lstat", "statvfs", "fstat"}
)


class Op(msgspec.Struct, array_like=True):
    """One entry: a call that succeeded, or a mark of a client. `no`: pairs a sync's begin with its end. A
    failed sync ends with "failed": the kernel has dropped what it should have made durable, except for files
    below the top whose names begin with `to`.
    """

    kind: str
    pid: int
    path: str = ""
    to: str = ""
    fd: int = -1
    inode: int = 0
    at: int = 0
    flags: int = 0
    no: int = 0
    data: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Op).decode
_LENGTH = struct.Struct("<I")
_sync_numbers = itertools.count(1)  # of this process


class Log(Protocol):
    """The log that gets the entries, in order."""

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Within this, no other thread or process does or logs anything."""

    def put(self, op: Op) -> None:
        """Append an entry. Only within `locked`."""


class ListLog:
    """The log of one process, in memory."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self._thread_lock = threading.RLock()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with self._thread_lock:
            yield

    def put(self, op: Op) -> None:
        self.ops.append(op)


class SharedLog:
    """A log file to which several processes append, under an flock. `die_at`: SIGKILL ourselves at that
    entry.
    """

    def __init__(self, path: str, die_at: int = 0) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        self._thread_lock = threading.RLock()
        self._count = 0
        self._die_at = die_at

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with self._thread_lock:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def put(self, op: Op) -> None:
        frame = _encode(op)
        os.write(self._fd, _LENGTH.pack(len(frame)) + frame)
        self._count += 1
        if self._count == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def kill(self, pid: int) -> None:
        """SIGKILL a recorded process between two of its operations, so that none is done without being
        logged.
        """
        with self.locked():
            os.kill(pid, signal.SIGKILL)


def read_log(path: str) -> list[Op]:
    """All entries of a shared log that is closed."""
    content = Path(path).read_bytes()
    ops, at = [], 0
    while at < len(content):
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        ops.append(_decode(content[at : at + length]))
        at += length
    return ops


def _absolute(path: str, dir_fd: int | None) -> str:
    """The whole path of `path`, which is relative to the open folder `dir_fd`, if that is given."""
    return os.path.abspath(path) if dir_fd is None else f"{os.readlink(f'/proc/self/fd/{dir_fd}')}/{path}"


class _Recorder:
    """What the two recorders have in common. `sync_s`: the longest time of a sync, which is random."""

    def __init__(self, log: Log, sync_s: float) -> None:
        self.log = log
        self.sync_s = sync_s

    def put(self, kind: str, **about: Any) -> None:
        self.log.put(Op(kind, os.getpid(), **about))

    def failed_sync(self, fd: int, kind: str, spared: str = "") -> None:
        """A sync that was never made, and failed. `spared`: files whose names begin so lost nothing."""
        no = next(_sync_numbers)
        with self.log.locked():
            self.put("begin", path=kind, fd=fd, inode=os.fstat(fd).st_ino, no=no)
            self.put("failed", to=spared, no=no)

    def sync(self, fd: int, kind: str, call: Callable[[], Any]) -> Any:
        no = next(_sync_numbers)
        with self.log.locked():
            self.put("begin", path=kind, fd=fd, inode=os.fstat(fd).st_ino, no=no)
        if self.sync_s:
            time.sleep(random.random() * self.sync_s)
        result = call()
        with self.log.locked():
            self.put("end", no=no)
        return result


class RecordingOs(_Recorder):
    """Replaces `os` in durable."""

    def __getattr__(self, name: str) -> Any:
        if name in _HARMLESS or name.startswith("O_"):
            return getattr(os, name)
        raise AssertionError(f"durable uses os.{name}, which the recorder does not know")

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        with self.log.locked():
            fd = os.open(path, flags, mode, dir_fd=dir_fd)
            self.put("open", path=_absolute(path, dir_fd), fd=fd, inode=os.fstat(fd).st_ino, flags=flags)
        return fd

    def mkdir(self, path: str, mode: int) -> None:
        with self.log.locked():
            os.mkdir(path, mode)
            self.put("mkdir", path=os.path.abspath(path))

    def rename(self, old: str, new: str) -> None:
        with self.log.locked():
            os.rename(old, new)
            self.put("rename", path=os.path.abspath(old), to=os.path.abspath(new))

    def link(self, old: str, new: str, *, follow_symlinks: bool) -> None:
        with self.log.locked():
            os.link(old, new, follow_symlinks=follow_symlinks)
            self.put("link", path=os.path.abspath(old), to=os.path.abspath(new))

    def unlink(self, path: str, *, dir_fd: int | None = None) -> None:
        with self.log.locked():
            os.unlink(path, dir_fd=dir_fd)
            self.put("unlink", path=_absolute(path, dir_fd))

    def rmdir(self, path: str, *, dir_fd: int | None = None) -> None:
        with self.log.locked():
            os.rmdir(path, dir_fd=dir_fd)
            self.put("rmdir", path=_absolute(path, dir_fd))

    def write(self, fd: int, data: Any) -> int:
        with self.log.locked():
            before = os.lseek(fd, 0, os.SEEK_CUR)
            written = os.write(fd, data)
            appends = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND
            at = os.fstat(fd).st_size - written if appends else before
            taken = bytes(memoryview(data)[:written])
            self.put("write", fd=fd, inode=os.fstat(fd).st_ino, at=at, data=taken)
        return written

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        with self.log.locked():
            written = os.pwrite(fd, data, offset)
            taken = bytes(memoryview(data)[:written])
            self.put("write", fd=fd, inode=os.fstat(fd).st_ino, at=offset, data=taken)
        return written

    def ftruncate(self, fd: int, length: int) -> None:
        with self.log.locked():
            os.ftruncate(fd, length)
            self.put("truncate", fd=fd, inode=os.fstat(fd).st_ino, at=length)

    def posix_fallocate(self, fd: int, offset: int, length: int) -> None:
        with self.log.locked():
            os.posix_fallocate(fd, offset, length)
            self.put("grow", fd=fd, inode=os.fstat(fd).st_ino, at=offset + length)

    def fdatasync(self, fd: int) -> None:
        self.sync(fd, "node", lambda: os.fdatasync(fd))

    def fsync(self, fd: int) -> None:
        self.sync(fd, "node", lambda: os.fsync(fd))


class RecordingLibc(_Recorder):
    """Replaces the C library in durable, for syncfs and renameat2."""

    def __init__(self, log: Log, sync_s: float, real: Any) -> None:
        super().__init__(log, sync_s)
        self._real = real

    def syncfs(self, fd: int) -> int:
        return int(self.sync(fd, "all", lambda: self._real.syncfs(fd)))

    def renameat2(self, at: int, new: bytes, also_at: int, old: bytes, flags: int) -> int:
        with self.log.locked():
            failed = int(self._real.renameat2(at, new, also_at, old, flags))
            if not failed:
                self.put(
                    "exchange", path=os.path.abspath(os.fsdecode(new)), to=os.path.abspath(os.fsdecode(old))
                )
        return failed


def install(log: Log, sync_s: float = 0.0) -> Callable[[], None]:
    """Record what this process does to the disk from now on. Gives a function that ends it."""
    inside: dict[str, Any] = vars(durable)
    real = {name: inside[name] for name in ("os", "_libc", "_renameat2", "_begin_write")}
    libc = RecordingLibc(log, sync_s, real["_libc"])
    inside.update(os=RecordingOs(log, sync_s), _libc=libc, _renameat2=libc.renameat2)
    inside.update(_begin_write=WriteAtItsEnd)  # by `os`, which records it

    def end() -> None:
        inside.update(real)

    return end


@contextlib.contextmanager
def recording(log: Log) -> Iterator[None]:
    """Record what happens inside."""
    end = install(log)
    try:
        yield
    finally:
        end()
