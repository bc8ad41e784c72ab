"""Re-reads one blob and compares every checksum. It only reads; the caller handles damage."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from common import checksum
from common.checksum import CHUNK_BYTES
from common.errors import FOREIGN_ERRNOS, SHORTAGE_ERRNOS, CorruptRecord, Damaged
from common.logs import about
from common.ours import read_at
from common.states import State
from services.engines.local.disk import blob_folder, layout
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord

log = logging.getLogger(__name__)


@dataclass
class Damage:
    """One damaged blob; `location` is None and `seq` 0 if the state itself cannot be read."""

    id: int
    location: str | None
    seq: int
    reason: str


@dataclass
class ScrubTally:
    """What was re-read."""

    checked: int = 0
    checked_bytes: int = 0
    damaged: list[Damage] = field(default_factory=list)
    unreadable: list[Damage] = field(default_factory=list)  # the disk did not give them: they may be whole

    def add(self, other: ScrubTally) -> None:
        """Count what `other` counts, too."""
        self.checked += other.checked
        self.checked_bytes += other.checked_bytes
        self.damaged += other.damaged
        self.unreadable += other.unreadable

    def __str__(self) -> str:
        return (
            f"checked={self.checked} checked_bytes={self.checked_bytes} damaged={len(self.damaged)} "
            f"unreadable={len(self.unreadable)}"
        )


def check_blob(
    data_dir: Layout, blob_id: int, tally: ScrubTally, after_read: Callable[[int], None]
) -> Damage | None:
    """Re-read the whole blob `blob_id` and add it to `tally`. Returns its damage, None if good or not live.

    An I/O error is no damage: it is only in `tally` and the log. But a state that cannot be read is returned,
    too, since the server can write it again from memory. Raises OSError if descriptors or memory lack.

    `after_read` is called with the bytes of each read, to slow it down. A blob that is replaced, deleted or
    collected meanwhile is not damaged: its state is read again before anything is said.
    """
    try:
        before = blob_folder.read_record(data_dir, blob_id)
    except FileNotFoundError:
        return (
            _damage(tally, Damage(blob_id, None, 0, "its state file is missing"))
            if _lost_state(data_dir, blob_id)
            else None
        )
    except CorruptRecord as err:
        return _damage(tally, Damage(blob_id, None, 0, str(err)))
    except OSError as err:
        return _unreadable(tally, Damage(blob_id, None, 0, "its state cannot be read"), err)
    if before.state is not State.COMPLETE or before.is_original:
        return None
    try:
        _verify(data_dir, before, tally, after_read)
    except Damaged as err:
        reason = str(err)
    except OSError as err:
        _unreadable(tally, Damage(blob_id, before.location, before.seq, "data.raw cannot be read"), err)
        return None
    else:
        tally.checked += 1
        return None
    try:
        if blob_folder.read_record(data_dir, blob_id) != before:
            return None
    except (OSError, CorruptRecord):
        return None  # the next round says what this is
    return _damage(tally, Damage(blob_id, before.location, before.seq, reason))


def _lost_state(data_dir: Layout, blob_id: int) -> bool:
    """True for data without a state.

    A create renames the data before the state, so the state's temporary name is looked for, too. The gc moves
    the folder away, or removes the data before the state, and the id may be used again. So everything is
    looked up through one descriptor, the data twice, and in the end whether this is still the id's folder.
    """
    folder = data_dir.folder(blob_id)
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        names = (layout.DATA_NAME, layout.STATE_TEMP_NAME, layout.STATE_NAME, layout.DATA_NAME)
        if [_is_there(name, fd) for name in names] != [True, False, False, True]:
            return False
        return os.path.samestat(os.fstat(fd), os.stat(folder, follow_symlinks=False))
    except FileNotFoundError:
        return False  # it was moved away
    finally:
        os.close(fd)


def _is_there(name: str, folder_fd: int) -> bool:
    try:
        os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _damage(tally: ScrubTally, damage: Damage) -> Damage:
    tally.damaged.append(damage)
    return damage


def _unreadable(tally: ScrubTally, found: Damage, err: OSError) -> Damage:
    if err.errno in SHORTAGE_ERRNOS:
        raise err
    found.reason += f": {err.strerror}"
    tally.unreadable.append(found)
    log.error(
        "blob %d of %r: %s", found.id, found.location, found.reason, extra=about(found.id, found.location)
    )
    return found


def _verify(data_dir: Layout, blob: BlobRecord, tally: ScrubTally, after_read: Callable[[int], None]) -> None:
    """Raises Damaged at the first chunk with a wrong checksum; OSError if the disk gives an error."""
    blob_folder.check_size(data_dir, blob)
    try:
        fd = blob_folder.open_data(data_dir, blob.id)
    except FileNotFoundError as err:
        raise Damaged("data.raw is missing") from err
    except OSError as err:
        _raise_if_foreign(err)
        raise
    whole = hashlib.sha256()
    buffer = memoryview(bytearray(min(blob.size, CHUNK_BYTES)))
    try:
        for chunk in range(checksum.chunk_count(blob.size)):
            start = chunk * CHUNK_BYTES
            data = buffer[: read_at(fd, buffer[: blob.size - start], start)]
            if checksum.crc(data) != checksum.unpack_crc(blob.crcs, chunk):
                raise Damaged(f"data.raw fails its checksum in MiB {chunk}")
            whole.update(data)
            tally.checked_bytes += len(data)
            after_read(len(data))
    except OSError as err:
        _raise_if_foreign(err)
        raise
    finally:
        # Clients do not ask for re-read bytes more than for others: leave the page cache to them.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    if whole.digest() != blob.sha256:
        raise Damaged("data.raw fails its SHA-256")


def _raise_if_foreign(err: OSError) -> None:
    if err.errno in FOREIGN_ERRNOS:
        raise Damaged(f"data.raw cannot be read: {err.strerror}") from err
