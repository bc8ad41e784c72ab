"""The only module that writes, syncs, renames or removes anything on disk.

All code calls these through the module (`durable.rename(...)`), so that tests can replace them: fail the Nth
call, die at it, or record them all. Each function is one step. None retries: after a failed sync the kernel
may have dropped the dirty pages, so a second sync could succeed without them (design rule 5). Files are
created 0600 and folders 0700, whatever the umask.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable

from common import kernel_writes
from common.checksum import Bytes
from common.errors import NO_SPACE_ERRNOS, SyncFailed

_FILE_MODE = 0o600
_FOLDER_MODE = 0o700
_REWRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC

_WRITE_BACK_ERRNOS = frozenset({errno.EIO, *NO_SPACE_ERRNOS})

_syncs = True  # see trade_safety_for_speed
_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_SYNC_FILE_RANGE_WAIT_BEFORE = 1
_SYNC_FILE_RANGE_WRITE = 2


def _not_here(*_: object) -> int:
    ctypes.set_errno(errno.ENOSYS)
    return -1


# Not every libc has these.
_renameat2 = getattr(_libc, "renameat2", _not_here)
_begin_write: Callable[[int, Bytes, int], kernel_writes.Begun | None] = kernel_writes.begin
_sync_file_range = getattr(_libc, "sync_file_range", _not_here)


def trade_safety_for_speed() -> None:
    """Make every sync of this process do nothing: `sync = "none"`. Acknowledged then means in the page cache.

    Only the server calls it, after its recovery, which makes durable what was acknowledged before and marks
    the journal clean. The gc and the recovery worker always sync, since they handle what may be durable.
    """
    global _syncs
    _syncs = False


def syncs() -> bool:
    """False after safety was traded for speed: then callers need not collect what to sync."""
    return _syncs


# --- single steps ---


def make_folder(path: str) -> None:
    """Create one folder. Raises FileExistsError where the name is taken: so ids are taken (design rule 3)."""
    os.mkdir(path, _FOLDER_MODE)


def create_file(path: str) -> int:
    """Create an empty file that was not there, open for writing; returns its descriptor."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)


def rewrite_file(path: str) -> int:
    """Open a file of our own for writing, empty, whether it was there or not; returns its descriptor."""
    return os.open(path, _REWRITE, _FILE_MODE)


def append_file(path: str) -> int:
    """Open a file for appending, created where it is missing; returns its descriptor.

    A pipe in its place must not hang us: that is an OSError, too.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(path, flags, _FILE_MODE)


def open_lock_file(path: str) -> int:
    """Open a lock file, created where it is missing; returns its descriptor."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)


def write_holder(fd: int, text: str) -> None:
    """Write the holder into an open lock file. For people: nothing depends on it, so it is not synced."""
    os.ftruncate(fd, 0)
    os.pwrite(fd, text.encode(), 0)


def open_in_place(path: str) -> int:
    """Open a file of our own that is there, for writing in place (the journal); returns its descriptor."""
    return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)


def write_at(fd: int, data: Bytes, offset: int) -> None:
    """Write every byte of `data` at `offset`."""
    written = os.pwrite(fd, data, offset)
    while written < len(data):  # hardly ever
        written += os.pwrite(fd, memoryview(data)[written:], offset + written)


def write_some_at(fd: int, data: Bytes, offset: int) -> int:
    """One write call at `offset`; returns how many bytes it took, which may be fewer than there are."""
    return os.pwrite(fd, data, offset)


def begin_write_at(fd: int, data: Bytes, offset: int) -> kernel_writes.Begun | None:
    """Begin one write past the page cache, or None; see kernel_writes."""
    return _begin_write(fd, data, offset)


def shared_memory(size_bytes: int) -> int:
    """Memory, all zeros, that other processes can map: no file of any disk. Returns its descriptor."""
    fd = os.memfd_create("blobkeep", os.MFD_CLOEXEC)
    os.ftruncate(fd, size_bytes)
    return fd


def open_folder(path: str) -> int:
    """Open a folder, to sync it or its file system; returns its descriptor."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def sync_file_system(fd: int) -> None:
    """Make all of the file system of an open folder durable (syncfs): for many files at once.

    Raises SyncFailed, since Linux 5.8 also for what the kernel failed to write back at any time since `fd`
    was opened, and has forgotten: so keep one descriptor from before the first write.
    """
    if _syncs and _libc.syncfs(fd) != 0:
        error = ctypes.get_errno()
        raise SyncFailed("The disk failed to keep what was written: the server stops.") from OSError(
            error, os.strerror(error)
        )


def failed_write_back(fd: int) -> bool:
    """True if the kernel failed to write back a part of the open file, and has not reported that yet.

    It reports once, and only while the file is in memory; later the file is read from the disk again. Waits
    for write-back that is going on, starts none, 1 µs (sync_file_range). False if it cannot find out.
    """
    whole = (ctypes.c_int64(0), ctypes.c_int64(0))
    failed = _sync_file_range(fd, *whole, _SYNC_FILE_RANGE_WAIT_BEFORE) != 0
    return failed and ctypes.get_errno() in _WRITE_BACK_ERRNOS


def begin_write_back(fd: int, offset: int, size_bytes: int) -> None:
    """Tell the kernel to begin to write this part of a file, so that a later sync waits less. Makes nothing
    durable; an error is left for that sync to tell. May wait where the disk's queue is full."""
    if _syncs:
        _sync_file_range(fd, ctypes.c_int64(offset), ctypes.c_int64(size_bytes), _SYNC_FILE_RANGE_WRITE)


def write_some(fd: int, data: Bytes) -> int:
    """One write call; returns how many bytes it took, which may be fewer than there are."""
    return os.write(fd, data)


def sync_file(fd: int) -> None:
    """Make the bytes and the size of an open file durable. Raises SyncFailed."""
    if not _syncs:
        return
    try:
        os.fdatasync(fd)
    except OSError as err:
        raise SyncFailed("The disk failed to keep what was written: the server stops.") from err


def sync_folder(path: str) -> None:
    """Make the entries of a folder durable: what was created, renamed or removed in it. Raises SyncFailed.

    Raises OSError if the folder cannot be opened (no descriptors left, say). That is no failed sync, but
    renames are done by then. A caller that must still be able to refuse opens it first, and uses
    `sync_open_folder`.
    """
    if not _syncs:
        return
    fd = open_folder(path)
    try:
        sync_open_folder(fd)
    finally:
        os.close(fd)


def sync_open_folder(fd: int) -> None:
    """The same for an open folder, wherever it was moved meanwhile. Raises SyncFailed."""
    if not _syncs:
        return
    try:
        os.fsync(fd)
    except OSError as err:
        raise SyncFailed("The disk failed to keep a folder's entries: the server stops.") from err


def rename(old: str, new: str) -> None:
    """Rename, atomically replacing a file (or an empty folder by a folder)."""
    os.rename(old, new)


def move_folder(old: str, new: str, *, last: str = "") -> None:
    """Rename the folder `old` to `new`, a name that nothing has.

    overlayfs renames no folder of a lower layer (EXDEV). There its entries are moved into a folder that is
    made, the one named `last` after all others are durable. A process that dies meanwhile leaves both
    folders, each with a part; called again, it goes on. The names of both are for the caller to sync.
    """
    try:
        os.rename(old, new)
        return
    except OSError as err:
        if err.errno != errno.EXDEV:
            raise
    with contextlib.suppress(FileExistsError):
        make_folder(new)
    for name in sorted(os.listdir(old), key=last.__eq__):
        if name == last:
            sync_folder(new)
        path = f"{old}/{name}"
        (move_folder if stat.S_ISDIR(os.lstat(path).st_mode) else os.rename)(path, f"{new}/{name}")
    sync_folder(new)
    os.rmdir(old)


def exchange(new: str, old: str) -> None:
    """Exchange two files of one folder, atomically: `old` then names what `new` named.

    For an existing `old` whose content may stay under `new`. A rename over a file makes ext4 write the new
    one out at once (auto_da_alloc): 90 µs, against 3. On a file system that cannot exchange it renames, and
    nothing stays behind.
    """
    if _renameat2(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _RENAME_EXCHANGE) == 0:
        return
    error = ctypes.get_errno()
    if error not in (errno.EINVAL, errno.ENOSYS, errno.ENOENT):
        raise OSError(error, os.strerror(error), old)
    os.rename(new, old)


def link(old: str, new: str) -> None:
    """Give a file a second name. Raises FileExistsError, and OSError where the file system has no links."""
    os.link(old, new, follow_symlinks=False)


def cut(fd: int, size_bytes: int) -> None:
    """Cut an open file after `size_bytes`."""
    os.ftruncate(fd, size_bytes)


def remove_file(path: str) -> None:
    """Remove one name that is not a folder."""
    os.unlink(path)


def remove_folder(path: str) -> None:
    """Remove one empty folder. Takes no descriptor. Raises OSError where something is in it."""
    os.rmdir(path)


def allocate(fd: int, size_bytes: int, offset: int = 0) -> None:
    """Reserve room on disk for `size_bytes` of a file from `offset` on, which it then has at least."""
    os.posix_fallocate(fd, offset, size_bytes)


# --- short sequences of them ---


def scratch_file(path: str) -> int:
    """An empty file to write and read, without a name: it lasts as long as its descriptor, which is returned.

    `path`: a free one, which it has for a moment.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
    try:
        os.unlink(path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def write_all(fd: int, data: Bytes) -> None:
    """Write every byte of `data`, however many calls that takes."""
    written = write_some(fd, data)
    while written < len(data):  # hardly ever
        written += write_some(fd, memoryview(data)[written:])


def write_file(path: str, payload: bytes, *, synced: bool) -> None:
    """Make `path` hold `payload`, in place: for temporary files only. Removes it again on any error."""
    fd = rewrite_file(path)
    try:
        write_all(fd, payload)
        if synced:
            sync_file(fd)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            remove_file(path)
        raise
    finally:
        os.close(fd)


def replace(path: str, payload: bytes, *, synced: bool) -> None:
    """Make `path` hold exactly `payload`; a reader sees the old content or the new, never a mixture.

    The new bytes are durable before they get the name, if `synced`. The name itself is durable only after
    a `sync_folder` of its folder, which is the caller's, since many replacements can share one.
    """
    temp = path + ".tmp"
    write_file(temp, payload, synced=synced)
    try:
        rename(temp, path)
    except BaseException:
        with contextlib.suppress(OSError):
            remove_file(temp)
        raise


def replace_durably(path: str, payload: bytes) -> None:
    """`replace`, and once this returns the content survives power loss.

    After an OSError the old content stands. If the sync of the folder fails (SyncFailed), the new content is
    visible but not promised: the caller must treat the outcome as unknown.
    """
    folder_fd = open_folder(os.path.dirname(path))
    try:
        replace(path, payload, synced=True)
        sync_open_folder(folder_fd)
    finally:
        os.close(folder_fd)


def make_folder_durably(path: str) -> None:
    """Create a folder, if it is not there, so that its entry survives power loss."""
    with contextlib.suppress(FileExistsError):
        make_folder(path)
    sync_folder(os.path.dirname(path))


def append_line(path: str, line: str) -> None:
    """Append to one of our hint files, in one write call. Not synced: hints may be lost."""
    fd = append_file(path)
    try:
        write_all(fd, line.encode())
    finally:
        os.close(fd)


def remove_tree(path: str, *, under: str) -> int:
    """Remove the folder `path` and all in it; returns the bytes freed (lengths of its files).

    Below `under`, a folder above it, no link is followed, whoever puts one there meanwhile: each folder is
    opened in the open one above it. Not found is fine at every step: a process that died here earlier may
    have removed a part. Raises NotADirectoryError where a name on the way is no folder; it is left alone.
    """
    *above, last = os.path.relpath(path, under).split("/")
    fd = open_folder(under)
    try:
        for name in above:
            fd, left = _open_below(fd, name), fd
            os.close(left)
        return _remove_below(fd, last)
    except FileNotFoundError:
        return 0
    finally:
        os.close(fd)


def _open_below(folder_fd: int, name: str) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder_fd)


def _remove_below(above_fd: int, name: str) -> int:
    freed_bytes = 0
    fd = _open_below(above_fd, name)
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_dir(follow_symlinks=False):
                        freed_bytes += _remove_below(fd, entry.name)
                    else:
                        freed_bytes += entry.stat(follow_symlinks=False).st_size
                        os.unlink(entry.name, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=above_fd)
    return freed_bytes
