"""Locks on a data directory: `flock` on a file in it, which ends with its process (design rule 1)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from common import durable
from common.errors import LockHeld
from common.ours import read_ours
from services.engines.local.disk import layout, readers_epoch

_HOLDER_BYTES = 4 << 10
_POLL_S = 0.05  # how late a waiting server may notice that its predecessor is gone


class FileLock:
    """An exclusive lock on the file at `path`, whose text names its holder, for people: "PID NAME".

    `says`: False for a lock that is taken so often that writing the text would keep an idle disk awake.

    Two objects exclude each other, also in one process. Not for several threads at once. A `with` statement
    releases it at the end; it must have been acquired before, or inside.
    """

    def __init__(self, path: str, name: str, *, says: bool = True) -> None:
        self._path = path
        self._name = name
        self._says = says
        self._fd = -1
        self.found: os.stat_result | None = None  # the file as the last holder left it

    def try_acquire(self) -> bool:
        """Take the lock if it is free, or ours already. Raises OSError if the file cannot be opened."""
        if self._fd >= 0:
            return True
        fd = durable.open_lock_file(self._path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        self.found = os.fstat(fd)
        if self._says:
            self.say()
        return True

    def say(self) -> None:
        """Write our name into the file. Its change time tells an index of a later holder (see `restart`)."""
        with contextlib.suppress(OSError):  # a full disk must not stop a start; the text is for people
            durable.write_holder(self._fd, f"{os.getpid()} {self._name}\n")

    def acquire(self, wait_s: float) -> None:
        """Take the lock, waiting at most `wait_s` for its holder. Raises LockHeld, which names that one."""
        deadline = time.monotonic() + wait_s
        while not self.try_acquire():
            if time.monotonic() >= deadline:
                raise LockHeld(
                    f"{os.path.dirname(self._path)} is in use by process {self.holder()}: "
                    "stop that one first, or give another directory with --dir."
                )
            time.sleep(_POLL_S)

    def now(self) -> os.stat_result:
        """The file as it is since we took the lock."""
        return os.fstat(self._fd)

    def make_durable(self) -> None:
        """Sync the file, whose change time shows since when we hold the lock. Raises SyncFailed."""
        durable.sync_open_folder(self._fd)

    def holder(self) -> str:
        """The holder, or last holder, of the lock by the file: "PID NAME"; "unknown" if the file is empty."""
        try:
            text = read_ours(self._path, _HOLDER_BYTES).decode(errors="replace")
            return text.partition("\n")[0][:100].strip() or "unknown"
        except OSError:
            return "unknown"

    def release(self) -> None:
        """Give the lock back. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_free(root: str) -> bool:
    """Whether nobody holds the state lock of the directory `root` now. Makes no file. Raises OSError."""
    root_fd = durable.open_folder(root)
    try:
        fcntl.flock(root_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(root_fd)
    return True


class StateLock(FileLock):
    """The lock that lets its holder write state in the existing directory `root`.

    To take it voids the table of an earlier holder's reader processes (see `readers_epoch`).

    The directory itself is locked as well, so that to remove or replace the file lets nobody in. If the
    directory cannot be written, the file may be missing or unopened; then only the directory is locked.
    """

    def __init__(self, root: str, name: str, *, says: bool = True) -> None:
        self._root = os.path.abspath(root)
        self._root_fd = -1
        super().__init__(os.path.join(self._root, layout.LOCK_NAME), name, says=says)

    def try_acquire(self) -> bool:
        """See FileLock."""
        if self._root_fd >= 0:
            return True
        root_fd = durable.open_folder(self._root)
        try:
            fcntl.flock(root_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self._try_file():
                raise BlockingIOError
        except BlockingIOError:
            os.close(root_fd)
            return False
        except BaseException:
            os.close(root_fd)
            raise
        self._root_fd = root_fd
        try:
            readers_epoch.end(self._root)
        except OSError:
            if os.access(self._root, os.W_OK):
                self.release()
                raise
        return True

    def _try_file(self) -> bool:
        try:
            return super().try_acquire()
        except OSError:
            if os.access(self._root, os.W_OK):
                raise
            return True

    def release(self) -> None:
        """See FileLock."""
        super().release()
        root_fd, self._root_fd = self._root_fd, -1
        if root_fd >= 0:
            os.close(root_fd)
