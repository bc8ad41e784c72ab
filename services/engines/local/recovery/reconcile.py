"""What a found folder becomes: the decisions of recovery, made by whoever holds the state lock.

The server runs it at start, the recovery worker while no server does; both get the same result, and
running it twice, or again after it was killed half-way, changes nothing more (design: 'What recovery
does with what it finds'). It reads one state file a blob and looks at the size of its data; the bytes
themselves are the recovery worker's to re-read.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from common.errors import DAMAGE_ERRNOS, BlobkeepError, CorruptRecord, Damaged, SyncFailed, from_os_error
from common.logs import about
from common.states import MSG_INTERRUPTED, MSG_SUPERSEDED, State
from common.times import rfc3339
from services.engines.local.disk import blob_folder, directory, layout, record, reserve
from services.engines.local.disk.blob import Blob, served
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord, rank
from services.engines.local.journal.replay import replay
from services.engines.local.recovery.quarantined import damaged_locations
from services.engines.local.recovery.scan_pool import ScanPool, how_many

log = logging.getLogger(__name__)


# All that may stand in a folder in which nothing was ever acknowledged.
_NEVER_COMPLETE = {
    layout.DATA_NAME,
    layout.DATA_TEMP_NAME,
    layout.STATE_TEMP_NAME,
    layout.NOTE_NAME,
    layout.NOTE_NAME + ".tmp",
}


@dataclass
class Reconciled:
    """What was found, and what became of it. Counts are blobs."""

    live: dict[str, Blob] = field(default_factory=dict)  # by location: what is served
    # By location: quarantined, under this name; an empty one for what the disk did not let us move.
    damaged: dict[str, tuple[str, blob_folder.Note]] = field(default_factory=dict)
    quarantined: list[tuple[int, str]] = field(default_factory=list)  # (id, reason), of this run
    # By location: ids of superseded blobs that the disk did not let us mark. They must be, before their
    # location is written or deleted: else a delete would bring them back at the next start.
    unsettled: dict[str, list[int]] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)  # ids in Failure, for the gc
    seen: int = 0
    interrupted: int = 0
    superseded: int = 0
    adopted: int = 0  # records of the original server that got checksums
    removed: int = 0  # folders in which nothing was ever acknowledged
    max_seq: int = 0
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        """True if the run changed anything on disk."""
        return bool(self.interrupted or self.superseded or self.adopted or self.removed or self.quarantined)

    def __str__(self) -> str:
        return (
            f"seen={self.seen} live={len(self.live)} failure={len(self.failures)} "
            f"interrupted={self.interrupted} superseded={self.superseded} adopted={self.adopted} "
            f"removed={self.removed} quarantined={len(self.quarantined)} in {self.seconds:.2f} s"
        )


def reconcile(
    data_dir: Layout, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None
) -> Reconciled:
    """Decide what every folder under DIR is, and make it so. Needs the state lock, unless `dry_run`.

    `progress` is called with (done, all) before every slice of folders. With `dry_run` nothing on disk
    changes and the result says what would. Raises OSError where DIR cannot be listed, SyncFailed where a sync
    fails; what cannot be changed for another reason (a full disk, say) is logged, not served, and left as it
    is.
    """
    began = time.monotonic()
    run = _Run(data_dir, dry_run)
    result = run.result
    if not dry_run:
        # Numbers of blobs that the gc has removed since count, too: theirs are not to be given again.
        result.max_seq = replay(data_dir).max_seq
    ids, result.foreign = directory.names_in(data_dir)
    with ScanPool(data_dir, ids, how_many(len(ids))) as readers:
        for some, blobs in readers.slices():
            if progress is not None:
                progress(result.seen, len(ids))
            for blob_id, blob in zip(some, blobs, strict=True):
                if blob is None:
                    run.look_at(blob_id)
                else:
                    run.plain(blob)
    run.know_the_quarantined()
    if not dry_run:
        blob_folder.hint(data_dir, result.failures)
        if not reserve.keep(data_dir):
            log.warning(
                "%r in the data directory is not ours: nothing is kept for deletes on a full disk",
                layout.RESERVE_NAME,
            )
    for name in result.foreign:
        log.warning("%r in the data directory is not ours: left alone", name)
    result.seconds = time.monotonic() - began
    return result


class _Run:
    """One run over a directory."""

    def __init__(self, data_dir: Layout, dry_run: bool) -> None:
        self.data_dir = data_dir
        self.dry_run = dry_run
        self.result = Reconciled()

    def plain(self, blob: Blob) -> None:
        """Complete, and whole as far as its size says."""
        result = self.result
        result.seen += 1
        seq = blob.seq
        if seq > result.max_seq:
            result.max_seq = seq
        rival = result.live.get(blob.location)
        if rival is None:
            result.live[blob.location] = blob
        else:
            self.settle_rivals(blob, rival)

    def look_at(self, blob_id: int) -> None:
        """Whatever else stands in a folder."""
        self.result.seen += 1
        try:
            found = blob_folder.read_record(self.data_dir, blob_id)
        except FileNotFoundError:
            self.without_state(blob_id)
            return
        except CorruptRecord as err:
            self.quarantine(blob_id, None, 0, str(err))
            return
        self.result.max_seq = max(self.result.max_seq, found.seq)
        if found.state is State.COMPLETE:
            self.complete(found)
        elif found.state is State.FAILURE:
            self.result.failures.append(blob_id)
        else:
            self.result.interrupted += 1
            self.to_failure(found.id, found.location, MSG_INTERRUPTED)

    def complete(self, found: BlobRecord) -> None:
        live = self.result.live
        rival = live.get(found.location)
        try:
            self.check_size(found)
            # The original's records have no checksums: compute them once, now, while nobody reads.
            if found.is_original and (rival is None or rank(found) > rank(rival)):
                found = self.adopt(found)
        except Damaged as err:
            self.quarantine(found.id, found.location, found.seq, str(err))
            return
        if rival is None:
            live[found.location] = served(found)
        else:
            self.settle_rivals(served(found), rival)

    def settle_rivals(self, found: Blob, rival: Blob) -> None:
        """Two complete ones for one location: the newer is served, the other becomes Failure."""
        newer, older = (found, rival) if rank(found) > rank(rival) else (rival, found)
        self.result.live[found.location] = newer
        self.result.superseded += 1
        if not self.to_failure(older.id, older.location, MSG_SUPERSEDED):
            self.result.unsettled.setdefault(older.location, []).append(older.id)

    def check_size(self, found: BlobRecord) -> None:
        try:
            blob_folder.check_size(self.data_dir, found)
        except Damaged:
            if self.dry_run or not blob_folder.finish_publish(self.data_dir, found.id):
                raise
            blob_folder.check_size(self.data_dir, found)

    def adopt(self, found: BlobRecord) -> BlobRecord:
        try:
            size, sha256, crcs = blob_folder.sums(self.data_dir, found.id)
        except OSError as err:
            if err.errno not in DAMAGE_ERRNOS:
                raise
            raise Damaged(f"data.raw cannot be read: {err.strerror}") from err
        self.result.adopted += 1

        def change() -> None:
            whole = blob_folder.read_record(self.data_dir, found.id)
            adopted = msgspec.structs.replace(whole, size=size, sha256=sha256, crcs=crcs)
            blob_folder.write_record(self.data_dir, adopted)

        what = f"blob {found.id}: adopted from the original server"
        self.attempt((found.id, found.location), what, change)
        return msgspec.structs.replace(found, size=size, sha256=sha256, crcs=crcs)

    def to_failure(self, blob_id: int, location: str, message: str) -> bool:
        def change() -> None:
            found = blob_folder.read_record(self.data_dir, blob_id)  # with its history
            blob_folder.fail(self.data_dir, found, message, time.time_ns())

        done = self.attempt((blob_id, location), f"blob {blob_id} of {location!r}: {message}", change)
        if done:
            self.result.failures.append(blob_id)
        return done

    def without_state(self, blob_id: int) -> None:
        """A folder without a state file: one that never became a blob, or one that lost its state."""
        try:
            names = set(os.listdir(self.data_dir.folder(blob_id)))
        except FileNotFoundError:
            return  # the gc took it meanwhile
        # A create writes both files under temporary names, and renames the state's last: while that name is
        # there, the blob was never acknowledged. Data with no trace of a state is damage; so is a state that
        # was only prepared to end the blob's life, which therefore had begun.
        if layout.DATA_NAME in names and not self.has_unborn_state(blob_id):
            self.quarantine(blob_id, None, 0, "its state file is missing")
        elif names <= _NEVER_COMPLETE:
            self.result.removed += 1
            what = f"blob {blob_id}: never complete, removed"
            self.attempt((blob_id, None), what, lambda: blob_folder.discard(self.data_dir, blob_id))
        else:
            self.quarantine(blob_id, None, 0, "its state file is missing and foreign files are in its folder")

    def has_unborn_state(self, blob_id: int) -> bool:
        """True where the state's temporary file is that of a blob that was to be, or a torn one."""
        try:
            content = blob_folder.read_file(f"{self.data_dir.folder(blob_id)}/{layout.STATE_TEMP_NAME}")
            return record.load(content).state is not State.FAILURE
        except FileNotFoundError:
            return False
        except CorruptRecord:
            return True

    def quarantine(self, blob_id: int, location: str | None, seq: int, reason: str) -> None:
        # A note left by a quarantine that died half-way knows more than a state that does not parse.
        note = blob_folder.read_note(self.data_dir.folder(blob_id))
        if note is not None and location is None:
            location, seq = note.location, note.seq
        self.result.quarantined.append((blob_id, reason))

        def change() -> None:
            blob_folder.quarantine(self.data_dir, blob_id, location, seq, reason)

        what = f"blob {blob_id} of {location!r}: damaged, quarantined: {reason}"
        if not self.attempt((blob_id, location), what, change, logging.ERROR) and location is not None:
            # It is where it was, and must not be served: no name says so.
            note = blob_folder.Note(blob_id, location, seq, reason, rfc3339(time.time_ns()))
            self.result.damaged[location] = ("", note)

    def attempt(
        self, blob: tuple[int, str | None], what: str, change: Callable[[], object], level: int = logging.INFO
    ) -> bool:
        """Do `change` and say so; False where the disk did not let us."""
        if not self.dry_run:
            try:
                change()
            except SyncFailed:
                raise
            except OSError as err:
                reason: BlobkeepError = from_os_error(err, "change it")
                log.error("%s: left as it is: %s", what, reason, extra=about(*blob))
                return False
        log.log(level, "%s", what, extra=about(*blob))
        return True

    def know_the_quarantined(self) -> None:
        """Which locations are damaged: in quarantine, known by name, not written or deleted since."""
        known, max_seq = damaged_locations(self.data_dir, self.result.live, self.release)
        self.result.max_seq = max(self.result.max_seq, max_seq)
        for location, found in known.items():
            self.result.damaged.setdefault(location, found)  # what could not be moved now is newer

    def release(self, name: str, note: blob_folder.Note) -> None:
        self.attempt(
            (note.id, note.location),
            f"quarantine {name} of {note.location!r}: answered for by a newer blob",
            lambda: blob_folder.release(self.data_dir, name, note),
        )
