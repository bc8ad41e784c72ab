"""Stands between the product and its disk: counts the calls, and fails, shortens or dies at the Nth.

`standing_between` replaces `os` in the modules that touch the data directory, and the two calls that
`common.durable` makes through libc. All other code is the product's.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from common import durable, ours
from common.checksum import Bytes
from services.engines.local.disk import blob_folder, directory
from services.engines.local.index import manifest, row_stamps, run
from services.engines.local.journal import file, format, replay
from services.engines.local.recovery import reconcile, scan_slices
from services.engines.local.upkeep import collector

# Functions of `os` that the product calls with a path or a descriptor of the data directory.
CHANGES = frozenset(
    {
        *("mkdir", "write", "pwrite", "fdatasync", "fsync", "rename", "unlink", "rmdir", "posix_fallocate"),
        *("link", "ftruncate"),
    }
)
READS = frozenset({"open", "read", "pread", "preadv", "stat", "listdir", "scandir"})
ALL = "all"  # the second argument of an "fsync" that was a syncfs
_MODULES = (
    *(blob_folder, collector, directory, durable, file, format, ours, replay, reconcile),
    *(scan_slices, manifest, row_stamps, run),
)


class Plan(Protocol):
    """Is called before each disk call. It may raise OSError, or return a shorter piece to write."""

    def before(self, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]: ...

    def after(self, name: str) -> None: ...


class _Os:
    """Like `os` (or what replaces it already), but tells the plan of each disk call."""

    def __init__(self, plan: Plan, names: frozenset[str], real: Any) -> None:
        self._plan = plan
        self._names = names
        self._real = real

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name not in self._names:
            return real

        def call(*args: Any, **options: Any) -> Any:
            result = real(*self._plan.before(name, args), **options)
            self._plan.after(name)
            return result

        return call


class _Libc:
    def __init__(self, plan: Plan, names: frozenset[str], real: Any) -> None:
        self._plan = plan
        self._names = names
        self._real = real

    def syncfs(self, fd: int) -> int:
        def sync() -> int:
            # Pass it to a recorder, if there is one. Otherwise sync one folder, not the whole machine.
            return int(self._real.fsync(fd) if isinstance(self._real, ctypes.CDLL) else self._real.syncfs(fd))

        return _as_c(self._plan, self._names, "fsync", (fd, ALL), sync)


class WriteAtItsEnd:
    """A write past the page cache that is done when it is waited for, by an ordinary call."""

    def __init__(self, fd: int, data: Bytes, offset: int) -> None:
        self._args = fd, data, offset

    def wait(self) -> int:
        return durable.write_some_at(*self._args)


def _as_c(
    plan: Plan, names: frozenset[str], name: str, args: tuple[Any, ...], call: Callable[[], int]
) -> int:
    if name not in names:
        return call()
    try:
        plan.before(name, args)
    except OSError as err:
        ctypes.set_errno(err.errno or 0)
        return -1
    result = call()
    plan.after(name)
    return result


@contextmanager
def standing_between(plan: Plan, names: frozenset[str] = CHANGES | READS) -> Iterator[None]:
    """Within this, the plan is told of every disk call of the product's modules in this process."""
    real_libc, real_exchange, real_begin = durable._libc, durable._renameat2, durable._begin_write
    real_os = {module: vars(module)["os"] for module in _MODULES}
    for module in _MODULES:
        vars(module)["os"] = _Os(plan, names, real_os[module])
    durable._libc = _Libc(plan, names, real_libc)  # type: ignore[assignment]
    durable._begin_write = WriteAtItsEnd
    durable._renameat2 = lambda *args: _as_c(plan, names, "rename", (), lambda: real_exchange(*args))
    try:
        yield
    finally:
        for module in _MODULES:
            vars(module)["os"] = real_os[module]
        durable._libc, durable._renameat2, durable._begin_write = real_libc, real_exchange, real_begin


class Fault:
    """Fails disk call number `at` (counted from 1), and with `lasting` all after it, with `error`.

    `error` 0: the call is only made shorter, where it writes more than one byte. `armed` from the start.
    """

    def __init__(self, at: int, error: int, *, lasting: bool) -> None:
        self.at, self.error, self.lasting = at, error, lasting
        self.calls = 0
        self.hit: list[str] = []  # the calls that failed
        self.armed = True
        self._mutex = threading.Lock()

    def before(self, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        with self._mutex:
            if not self.armed:
                return args
            self.calls += 1
            if self.calls != self.at and not (self.lasting and self.calls > self.at):
                return args
            self.hit.append(name)
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        if name in ("write", "pwrite") and len(args[1]) > 1:
            return (args[0], memoryview(args[1])[: (len(args[1]) + 1) // 2], *args[2:])
        return args

    def after(self, name: str) -> None:
        """Nothing to do."""


class Death:
    """Ends the process at disk call number `at`, counted from 1: before it is made, or `late`, after it."""

    def __init__(self, at: int, *, late: bool = False) -> None:
        self.at, self.late = at, late
        self.calls = 0
        self._mutex = threading.Lock()

    def before(self, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        with self._mutex:
            self.calls += 1
            if self.calls == self.at and not self.late:
                os._exit(DIED)
            if self.calls == self.at and name in ("write", "pwrite") and len(args[1]) > 1:
                return (args[0], memoryview(args[1])[: len(args[1]) // 2], *args[2:])  # a torn write
        return args

    def after(self, name: str) -> None:
        if self.late and self.calls >= self.at:
            os._exit(DIED)


DIED = 137
