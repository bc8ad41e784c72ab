"""One blob on disk. Each operation is an ordered list of steps: a crash after any of them leaves a state
that `reconcile` knows. No index, no threads, no network. Called by the holder of the state lock (design rule
1). The operations of the gc are in `services/engines/local/upkeep/trash.py`, those on damaged blobs in
`services/engines/local/disk/quarantine.py`.

    stage:      mkdir DIR/<id> > state Pending, synced > folder synced > data.raw created
    whole:      mkdir DIR/<id> > data.raw's temporary file, synced > folder synced > DIR synced
    create:     mkdir DIR/<id> (or staged, or whole) > data.raw and the complete state's temporary file synced
                > renamed > folder synced > DIR synced > acknowledged
    fail:       state Failure to a temporary file, synced > renamed > folder synced > acknowledged
    collect:    (gc, only from Failure) rename DIR/<id> to DIR/.gone/<id>-<seq> > DIR synced > remove it
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable

import msgspec

from common import checksum, durable
from common.errors import FOREIGN_ERRNOS, SHORTAGE_ERRNOS, CorruptRecord, Damaged
from common.ours import open_ours, read_ours
from common.states import State
from services.engines.local.disk import layout, record, reserve
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord

# No file of ours but data and journals is longer, except the state of a blob of terabytes.
MAX_FILE_BYTES = 4 << 20
_MAX_STATE_BYTES = 256 << 20  # of a blob of 28 TiB: a sparse file may claim to be larger than any disk
_CHUNK_CRC_BYTES = 9  # eight hex digits and a space
_MAX_KEPT_CRCS = 4 * 2048  # of 2 GiB: a state of so much fits into a spare file of the reserve


def take(data_dir: Layout, blob_id: int) -> bool:
    """Take `blob_id` by an exclusive mkdir (design rule 3). False if it has a folder already."""
    try:
        durable.make_folder(data_dir.folder(blob_id))
    except FileExistsError:
        return False
    except FileNotFoundError:
        if data_dir.id_bits == 16:
            raise
        durable.make_folder_durably(data_dir.parent(blob_id))
        return take(data_dir, blob_id)
    return True


def is_folder(path: str) -> bool:
    """True if a folder is there, itself: not a link to one."""
    return os.path.isdir(path) and not os.path.islink(path)


class RecordOfAnother(CorruptRecord):
    """A state file is whole, but not of the blob whose folder it is in."""


def read_record(data_dir: Layout, blob_id: int) -> BlobRecord:
    """What the blob's state file says. Raises FileNotFoundError, CorruptRecord, other OSError."""
    return read_record_in(data_dir.folder(blob_id), blob_id)


def read_record_in(folder: str, blob_id: int | None) -> BlobRecord:
    """The same for a folder anywhere, such as one in quarantine; `blob_id`: what its id must be, or None."""
    found = record.load(read_state(f"{folder}/{layout.STATE_NAME}", f"{folder}/{layout.DATA_NAME}"))
    if blob_id is not None and found.id != blob_id:
        raise RecordOfAnother(f"The state file says id {found.id}, its folder is that of {blob_id}.")
    return found


def read_file(path: str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """All of a small file. Raises CorruptRecord if it is longer, or a symlink, a device or a folder.

    Raises OSError for errors that say nothing about the bytes: an I/O error, no descriptors left, not there.
    """
    try:
        return read_ours(path, max_bytes)
    except OSError as err:
        if err.errno not in FOREIGN_ERRNOS:
            raise
        raise CorruptRecord(f"{os.path.basename(path)} cannot be read: {err.strerror}.") from err


def read_state(state_path: str, data_path: str) -> bytes:
    """All of a state file. It has nine bytes for each MiB of its data, so that of a large blob is long.

    CorruptRecord where it is longer than that, or no plain file. Raises FileNotFoundError, other OSError.
    """
    try:
        return read_file(state_path)
    except CorruptRecord as err:
        if not isinstance(err.__cause__, OSError) or err.__cause__.errno != errno.EFBIG:
            raise
    data_bytes = 0
    with contextlib.suppress(FileNotFoundError):
        data_bytes = os.stat(data_path, follow_symlinks=False).st_size
    chunks_bytes = checksum.chunk_count(data_bytes) * _CHUNK_CRC_BYTES
    return read_file(state_path, min(MAX_FILE_BYTES + chunks_bytes, _MAX_STATE_BYTES))


def write_record(data_dir: Layout, new: BlobRecord) -> None:
    """Replace the state file by `new`, durably (all but the entry of a folder that is new itself)."""
    durable.replace_durably(data_dir.state(new.id), record.dump(new))


def replace_state(data_dir: Layout, blob_id: int, content: bytes) -> None:
    """Replace the state file by the content from the journal. Its folder is not synced yet."""
    durable.replace(data_dir.state(blob_id), content, synced=True)


def replace_data(data_dir: Layout, blob_id: int, body: bytes) -> None:
    """Write data.raw again from the journal. Its folder is not synced yet."""
    durable.replace(data_dir.data(blob_id), body, synced=True)


def publish(data_dir: Layout, blob_id: int, *, has_data: bool = False) -> None:
    """Rename data.raw and the complete state from their temporary names: the commit on disk.

    `has_data`: data.raw has its name already.
    """
    folder = data_dir.folder(blob_id)
    if not has_data:
        durable.rename(f"{folder}/{layout.DATA_TEMP_NAME}", f"{folder}/{layout.DATA_NAME}")
    durable.rename(f"{folder}/{layout.STATE_TEMP_NAME}", f"{folder}/{layout.STATE_NAME}")


def finish_publish(data_dir: Layout, blob_id: int, size: int) -> bool:
    """After a power cut that kept one rename of `publish` and lost the other: do the other. True if done.

    Only for data of `size` bytes: a file that has the name may be damaged, but it may be all that is left.
    """
    folder = data_dir.folder(blob_id)
    try:
        found = os.stat(f"{folder}/{layout.DATA_TEMP_NAME}", follow_symlinks=False)
        if found.st_size != size or not stat.S_ISREG(found.st_mode):
            return False
        durable.rename(f"{folder}/{layout.DATA_TEMP_NAME}", f"{folder}/{layout.DATA_NAME}")
    except FileNotFoundError:
        return False
    durable.sync_folder(folder)
    return True


def stage(data_dir: Layout, pending: BlobRecord) -> int:
    """In the taken folder: the Pending state, then an empty data.raw; returns its descriptor.

    Once this returns, a power cut leaves the folder without data.raw, or with a state that says Pending.
    """
    write_record(data_dir, pending)
    return durable.create_file(data_dir.data(pending.id))


def begin_data(data_dir: Layout, blob_id: int) -> int:
    """In the taken folder: an empty data.raw under its temporary name; returns its descriptor.

    Until `publish` nothing else is in the folder, and whatever a power cut leaves of it was never a blob.
    """
    return durable.create_file(f"{data_dir.folder(blob_id)}/{layout.DATA_TEMP_NAME}")


def failed(old: BlobRecord, message: str, now_ns: int, *, keeps: bool = False) -> BlobRecord:
    """`old` in state Failure. `keeps`: with its checksums, so that it can be brought back (see `keeping`).

    Else without the checksums of its chunks, so that it needs little room on a disk that may be full. Its
    SHA-256 stays for an export that began before. An empty blob, which has no chunks, loses its SHA-256 as
    well: with it the record would count as whole.
    """
    failure = old.advanced(State.FAILURE, message, now_ns)
    if keeps:
        return failure
    return msgspec.structs.replace(failure, sha256=failure.sha256 if failure.size else b"", crcs=b"")


def write_failure(data_dir: Layout, failure: BlobRecord, *, synced: bool = True) -> None:
    """Write a Failure state. Its folder is not synced yet."""
    durable.replace(data_dir.state(failure.id), record.dump(failure), synced=synced)


def fail(data_dir: Layout, old: BlobRecord, message: str, now_ns: int, *, keeps: bool = False) -> BlobRecord:
    """Mark one blob Failure; durable once this returns. The gc is told. Returns the new record.

    On a full disk it gives up some of the reserve. `keeps`: see `failed`.
    """
    failure = failed(old, message, now_ns, keeps=keeps and len(old.crcs) <= _MAX_KEPT_CRCS)
    folder_fd = durable.open_folder(data_dir.folder(old.id))  # by its name it may soon be another's: the gc's
    try:
        reserve.finding_room(data_dir, lambda: write_failure(data_dir, failure))
        durable.sync_open_folder(folder_fd)
    finally:
        os.close(folder_fd)
    hint(data_dir, [old.id])
    return failure


def hint(data_dir: Layout, ids: list[int]) -> None:
    """Tell the gc which blobs became Failure. A lost hint costs only time, so errors are ignored.

    On a full disk that time matters, so the file then gets its inode from the reserve.
    """
    lines = "".join(f"{i}\n" for i in ids)
    with contextlib.suppress(OSError):
        reserve.finding_room(data_dir, lambda: durable.append_line(data_dir.ours(layout.HINTS_NAME), lines))


def discard(data_dir: Layout, blob_id: int) -> None:
    """Remove a folder in which nothing was ever acknowledged. Only the lock holder may (design rule 3).

    Its data is removed first, durably: data without a state file would look like damage. The rest is removed
    even if no descriptor is left: else every refused write would take an id until the next start.
    """
    folder = data_dir.folder(blob_id)
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        durable.remove_file(data_dir.data(blob_id))
        durable.sync_folder(folder)
    try:
        durable.remove_tree(folder, under=data_dir.root)
    except OSError as err:
        if err.errno not in SHORTAGE_ERRNOS:
            raise
        for name in (layout.DATA_TEMP_NAME, layout.STATE_TEMP_NAME, layout.STATE_NAME):
            with contextlib.suppress(FileNotFoundError):
                durable.remove_file(f"{folder}/{name}")
        durable.remove_folder(folder)


def note_failed_sync(data_dir: Layout) -> None:
    """Tell the restart that what it reads of the last commits may be in the page cache only.

    The file need not be synced: after a system crash the journal is compared with the disk anyway.
    """
    with contextlib.suppress(OSError):  # the disk is failing; this is the best that can be done
        mark = data_dir.ours(layout.SYNC_FAILED_NAME)
        os.close(reserve.finding_room(data_dir, lambda: durable.append_file(mark)))


def check_size(data_dir: Layout, blob: BlobRecord) -> int:
    """The size of data.raw, checked to be a plain file of the recorded size (the original records none).

    Raises Damaged, naming what is wrong; OSError if the disk gives an error.
    """
    try:
        found = os.stat(data_dir.data(blob.id), follow_symlinks=False)
    except FileNotFoundError as err:
        raise Damaged("data.raw is missing") from err
    except OSError as err:
        if err.errno not in FOREIGN_ERRNOS:
            raise
        raise Damaged(f"data.raw cannot be looked at: {err.strerror}") from err
    if not stat.S_ISREG(found.st_mode):
        raise Damaged("data.raw is not a plain file")
    if not blob.is_original and found.st_size != blob.size:
        raise Damaged(f"data.raw has {found.st_size} bytes instead of {blob.size}")
    return found.st_size


def open_data(data_dir: Layout, blob_id: int) -> int:
    """Open data.raw for reading; returns its descriptor. Raises FileNotFoundError, other OSError."""
    return open_ours(data_dir.data(blob_id))


def sums(
    data_dir: Layout, blob_id: int, go_on: Callable[[], bool] = lambda: True
) -> tuple[int, bytes, bytes]:
    """(size, SHA-256, packed CRCs) of data.raw as it is now: for blobs that came without checksums.

    `go_on` is asked after each MiB; raises InterruptedError where it says no, and other OSError.
    """
    hasher = checksum.Hasher()
    fd = open_data(data_dir, blob_id)
    try:
        while part := os.read(fd, checksum.CHUNK_BYTES):
            hasher.update(part)
            if not go_on():
                raise InterruptedError(errno.EINTR, "told to stop")
    finally:
        os.close(fd)
    return hasher.size, hasher.sha256(), hasher.crcs()
