"""Replays the journal: the lock holder's first step, before anyone judges a blob.

After a process crash the files are as they were written, and unfinished commits are finished. After a system
crash every file since the last checkpoint may be missing, cut or stale. Each is compared with the journal,
byte for byte, and written again if it differs. Then everything under DIR is made durable, whoever wrote it: a
later power cut must not undo what is judged, retired or served from now on. To run it twice changes nothing
more.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from common import durable
from common.errors import DISK_ERRNOS, FOREIGN_ERRNOS, CorruptRecord, SyncFailed
from common.ours import open_ours
from common.states import State
from services.engines.local.disk import blob_folder, layout, quarantine, record
from services.engines.local.disk.blob_folder import RecordOfAnother, is_folder
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord
from services.engines.local.journal import format as journal
from services.engines.local.journal.format import JournalEntry

log = logging.getLogger(__name__)


class Replayed(NamedTuple):
    """How many blobs were written again, the highest sequence number in the journal, all ids in it.

    `is_whole`: no part of it was lost.
    """

    changed: int
    max_seq: int
    ids: tuple[int, ...] = ()
    is_whole: bool = True


def replay(data_dir: Layout) -> Replayed:
    """Make the blobs' folders agree with the journal.

    Afterwards all that is under DIR is durable, and the journal is clean: a later replay cannot undo what is
    done from now on without it. After a failed sync or write-back the bytes that are read may be only in the
    page cache, where a sync finds nothing to do. So after a failed sync all that the journal covers is
    written again, and else each file for which the kernel reports a failed write-back. Raises OSError and
    SyncFailed: then nothing may be judged.
    """
    mark = data_dir.ours(layout.SYNC_FAILED_NAME)
    sync_failed = _is_file(mark)
    root_fd = durable.open_folder(data_dir.root)  # before the first write: see sync_file_system
    try:
        replayed = _replay(data_dir, root_fd, rewrite=sync_failed)
    except SyncFailed:
        blob_folder.note_failed_sync(data_dir)
        raise
    finally:
        os.close(root_fd)
    if _is_file(mark):
        durable.remove_file(mark)
    return replayed


def unplaced(data_dir: Layout) -> frozenset[str]:
    """For a read-only directory: the locations whose folders do not agree with the journal.

    The content of their folders must not be served. Raises OSError, StorageFailed.
    """
    scans = [found for found in journal.scan_all(data_dir) if not found.clean]
    # Right bytes are good for reading, even if the kernel failed to write them back.
    behind = [
        entry
        for entry in _last_entries(scans).values()
        if _wanted(data_dir, entry, lambda _: True) != _NOTHING
    ]
    for entry in behind:
        log.error("blob %d: not served: what the journal has of it cannot be put in place", entry.id)
    return frozenset(record.load(entry.state).location for entry in behind)


def _is_file(path: str) -> bool:
    return os.path.lexists(path) and not is_folder(path)


def _replay(data_dir: Layout, root_fd: int, *, rewrite: bool) -> Replayed:
    all_scans = journal.scan_all(data_dir)
    for found in all_scans:
        if found.has_lost_header:
            log.error("%s has lost its header: what it held is as its folders are", found.path)
    scans = [found for found in all_scans if not found.clean]
    for found in scans:
        if found.rotten:
            log.error("%s: %d gaps: the disk lost a part of the journal", found.path, found.rotten)
        journal.write_last_again(found)  # the folders may not be ahead of it
    last = _last_entries(scans)
    changed = [entry.id for entry in last.values() if _apply(data_dir, entry, rewrite=rewrite)]
    durable.sync_file_system(root_fd)
    for found in scans:  # the older first: the newer must never be forgotten before it
        journal.mark_clean(found)
    if changed:
        log.info("replayed the journal: %d of %d blobs written anew", len(changed), len(last))
    is_whole = not any(found.has_lost_header or found.rotten for found in all_scans)
    return Replayed(
        len(changed), max((entry.seq for entry in last.values()), default=0), tuple(last), is_whole
    )


def _last_entries(scans: list[journal.Scan]) -> dict[int, JournalEntry]:
    """The last entry of each id; with the body, if an earlier entry had it."""
    last: dict[int, JournalEntry] = {}
    for entry in journal.entries_of(scans):
        before = last.get(entry.id)
        if before is not None and before.seq == entry.seq and entry.body is None:
            entry = JournalEntry(entry.id, entry.seq, entry.alive, entry.state, before.body)
        last[entry.id] = entry
    return last


def _apply(data_dir: Layout, entry: JournalEntry, *, rewrite: bool) -> bool:
    """Make one blob's folder agree with its last entry; True if that changed anything.

    `rewrite`: write what agrees, too.
    """
    folder = data_dir.folder(entry.id)
    if any(os.path.lexists(path) and not is_folder(path) for path in (data_dir.parent(entry.id), folder)):
        log.error("blob %d: %s is no folder: what the journal has of it is not written", entry.id, folder)
        return False
    try:
        return _write_patiently(data_dir, entry, rewrite)
    except RecordOfAnother as err:
        reason = str(err)
    except OSError as err:
        if err.errno not in FOREIGN_ERRNOS | {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        reason = err.strerror or str(err)
    # Exchanged folders, or a folder, say, in the place of a file. What stands there is kept, and the blob is
    # written elsewhere.
    log.error("blob %d: %s: moved to quarantine", entry.id, reason)
    # Its location, only where the journal has no bytes to write it anew.
    location = record.load(entry.state).location if entry.alive and entry.body is None else None
    quarantine.move_in(data_dir, entry.id, location, entry.seq, f"found by the replay: {reason}")
    return _write(data_dir, entry, rewrite)


def _write_patiently(data_dir: Layout, entry: JournalEntry, rewrite: bool) -> bool:
    """Try again after an error of the disk, which may pass. If it stays, it ends the start."""
    for wait_s in journal.DISK_WAITS_S:
        try:
            return _write(data_dir, entry, rewrite)
        except OSError as err:
            if err.errno not in DISK_ERRNOS:
                raise
            log.warning("blob %d: tried again in %g s: %s", entry.id, wait_s, err)
            time.sleep(wait_s)
    return _write(data_dir, entry, rewrite)


class _Wanted(NamedTuple):
    """What is missing in an entry's folder. `state` is set whenever anything is missing."""

    body: bool
    state: bool


_NOTHING = _Wanted(body=False, state=False)
_IsKept = Callable[[str], bool]  # of the path of a file that reads as it should


def _wanted(data_dir: Layout, entry: JournalEntry, is_kept: _IsKept) -> _Wanted:
    """Compare one blob's folder with its last entry. Changes nothing."""
    content: bytes | None
    found: BlobRecord | None
    try:
        content = blob_folder.read_state(data_dir.state(entry.id), data_dir.data(entry.id))
        found = record.load(content)
        if found.id != entry.id:
            raise RecordOfAnother(f"The state file says id {found.id}.")
    except (FileNotFoundError, CorruptRecord):
        content = found = None  # lost, torn or another's: the journal knows better
    except OSError as err:
        if err.errno not in DISK_ERRNOS:
            raise
        content = found = None  # unreadable: it is replaced as a whole
    if found is not None and found.seq > entry.seq and not (entry.alive and found.state is State.FAILURE):
        return _NOTHING  # the id was given to a newer blob since, which never became complete
    if found is not None and found.seq == entry.seq and found.state is State.FAILURE and entry.alive:
        return _NOTHING  # design rule 2
    has_state = content == entry.state and is_kept(data_dir.state(entry.id))
    has_folder = os.path.isdir(data_dir.folder(entry.id))
    if not entry.alive:  # without a folder: collected already
        return _NOTHING if has_state or not has_folder else _Wanted(body=False, state=True)
    if entry.body is None and not has_folder:
        return _NOTHING  # its bytes, and their folder, were durable before its record: somebody moved it away
    has_body = _has_name(data_dir, entry.id) if entry.body is None else _has_body(data_dir, entry, is_kept)
    return _NOTHING if has_state and has_body else _Wanted(body=not has_body, state=True)


def _write(data_dir: Layout, entry: JournalEntry, rewrite: bool) -> bool:
    wanted = _wanted(data_dir, entry, lambda path: not rewrite and _is_kept(data_dir, path))
    if wanted == _NOTHING:
        return False
    _must_be_ours(data_dir, entry.id)
    if not entry.alive:
        with contextlib.suppress(FileNotFoundError):  # collected in this very moment
            blob_folder.replace_state(data_dir, entry.id, entry.state)
        return True
    # If its folder is there: what stands in it is older than the journal.
    blob_folder.take(data_dir, entry.id)
    if wanted.body and entry.body is not None:
        blob_folder.replace_data(data_dir, entry.id, entry.body)
    elif wanted.body:
        blob_folder.finish_publish(data_dir, entry.id, record.load(entry.state).size)
    blob_folder.replace_state(data_dir, entry.id, entry.state)
    return True


def _must_be_ours(data_dir: Layout, blob_id: int) -> None:
    """Raises RecordOfAnother if somebody exchanged folders: this one may have an acknowledged blob."""
    try:
        blob_folder.read_record(data_dir, blob_id)
    except RecordOfAnother:
        raise
    except (FileNotFoundError, CorruptRecord):
        return
    except OSError as err:
        if err.errno not in DISK_ERRNOS:
            raise


def _has_name(data_dir: Layout, blob_id: int) -> bool:
    """False if data that was durable before its record still has its temporary name."""
    data = data_dir.data(blob_id)
    return os.path.lexists(data) or not os.path.lexists(data + ".tmp")


def _has_body(data_dir: Layout, entry: JournalEntry, is_kept: _IsKept) -> bool:
    body = entry.body or b""
    try:
        path = data_dir.data(entry.id)
        return blob_folder.read_file(path, len(body)) == body and is_kept(path)
    except (FileNotFoundError, CorruptRecord):
        return False
    except OSError as err:
        if err.errno not in DISK_ERRNOS:
            raise
        return False  # it is replaced as a whole


def _is_kept(data_dir: Layout, path: str) -> bool:
    """False if the file's bytes may be only in the page cache, since the disk refused them."""
    try:
        fd = open_ours(path)
    except FileNotFoundError:  # collected in this very moment
        return False
    try:
        if not durable.failed_write_back(fd):
            return True
    finally:
        os.close(fd)
    mark = data_dir.ours(layout.SYNC_FAILED_NAME)
    log.log(
        logging.DEBUG if _is_file(mark) else logging.ERROR,
        "%s: the disk failed to keep it: this, and whatever else it did not keep, is written anew",
        path,
    )
    blob_folder.note_failed_sync(
        data_dir
    )  # the kernel tells only once, and we may be killed before it is done
    return False
