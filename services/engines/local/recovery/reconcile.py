"""Decides what each folder becomes at recovery. Only the holder of the state lock runs it.

The server runs it at start, and the recovery worker while no server runs. Both get the same result. To run it
twice, or again after it was killed half-way, changes nothing more (design: 'What recovery does with what it
finds'). It reads one state file for each blob and the size of its data; the recovery worker re-reads the data
itself.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence

import msgspec

from common.errors import (
    SHORTAGE_ERRNOS,
    BlobkeepError,
    CorruptRecord,
    Damaged,
    SyncFailed,
    from_os_error,
)
from common.logs import about
from common.states import MSG_INTERRUPTED, MSG_SUPERSEDED, State
from common.times import rfc3339
from services.engines.local.disk import blob_folder, directory, layout, quarantine, reserve
from services.engines.local.disk.blob import Blob, served
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.quarantine import Note
from services.engines.local.disk.record import BlobRecord, rank
from services.engines.local.disk.record_json import MAX_PLAUSIBLE_SEQ
from services.engines.local.journal.replay import replay, unplaced
from services.engines.local.recovery.adoption import with_sums
from services.engines.local.recovery.quarantined import damaged_locations
from services.engines.local.recovery.reconciled import LiveBlobs, Reconciled
from services.engines.local.recovery.scan_pool import ScanPool, how_many
from services.engines.local.recovery.unborn import NEVER_COMPLETE, has_unborn_state

log = logging.getLogger(__name__)

# So much data of the original server's blobs is read at a start, to compute checksums: 3 s on a slow disk.
# What is more, or claims to be (a sparse file), waits for the server, which does it in the background.
ADOPT_BYTES = 256 << 20
# What the disk did not give is tried again after these pauses, and so long in all.
READ_AGAIN_AFTER_S = (0.1, 0.4, 1.0)
READ_AGAIN_S = 5.0


def reconcile(
    data_dir: Layout, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None
) -> Reconciled:
    """Decide what every folder under DIR is, and make it so. Needs the state lock, unless `dry_run`.

    `progress` is called with (done, all) before every slice of folders. With `dry_run` nothing on disk
    changes and the result says what would. Raises OSError if DIR cannot be listed or descriptors lack, and
    SyncFailed. A folder that cannot be changed for another reason (a full disk, say) is logged, not served,
    and left as it is. So is one that the disk does not give, after some tries: an I/O error is not
    corruption. In a read-only directory nothing is changed, and what only the journal has is not served.
    """
    run = Reconciliation(data_dir, dry_run)
    if data_dir.read_only:
        run.result.unplaced = unplaced(data_dir)
    elif not dry_run:
        # Numbers of blobs that the gc has removed since count, too: they must not be used again.
        run.saw(replay(data_dir).max_seq)
    ids, run.result.foreign = directory.names_in(data_dir)
    run.look_at_all(ids, progress)
    return run.end()


class Reconciliation:
    """One run over a directory. `live`: what is known to be served already."""

    def __init__(self, data_dir: Layout, dry_run: bool, live: LiveBlobs | None = None) -> None:
        self.began = time.monotonic()
        self.data_dir = data_dir
        self.dry_run = dry_run
        self.result = Reconciled() if live is None else Reconciled(live)
        self.adopt_bytes = ADOPT_BYTES  # of data that may yet be read to adopt blobs
        self.unadopted: dict[int, str] = {}  # their locations
        self.unmoved: list[str] = []  # damaged folders of unknown locations that could not be moved

    def look_at_all(self, ids: Sequence[int], progress: Callable[[int, int], None] | None = None) -> None:
        """Decide what these folders are, in their order. Raises as `reconcile` does."""
        with ScanPool(self.data_dir, ids, how_many(len(ids))) as readers:
            for some, blobs in readers.slices():
                if progress is not None:
                    progress(self.result.seen, len(ids))
                for blob_id, blob in zip(some, blobs, strict=True):
                    if isinstance(blob, Blob):
                        self.plain(blob)
                    elif blob is None:
                        self.look_at(blob_id)
                    else:
                        self.ended(blob_id, blob)

    def end(self) -> Reconciled:
        """When every folder was read: what follows from all of them together."""
        self.read_again()
        self.know_the_quarantined()
        self.withhold_unplaced()
        if not self.dry_run and not self.data_dir.read_only:
            blob_folder.hint(self.data_dir, self.result.failures)
            if not reserve.keep(self.data_dir):
                log.warning(
                    "%r in the data directory is not ours: nothing is kept for deletes on a full disk",
                    layout.RESERVE_NAME,
                )
        self.set_aside_unadopted()
        for name in self.result.foreign:
            log.warning("%r in the data directory is not ours: left alone", name)
        self.result.seconds = time.monotonic() - self.began
        return self.result

    def ended(self, blob_id: int, seq: int) -> None:
        self.result.seen += 1
        self.saw(seq)
        self.result.failures.append(blob_id)

    def plain(self, blob: Blob) -> None:
        """A complete blob whose data has the right size."""
        result = self.result
        result.seen += 1
        seq = blob.seq
        if result.max_seq < seq <= MAX_PLAUSIBLE_SEQ:
            result.max_seq = seq
        rival = result.live.get(blob.location)
        if rival is None:
            result.live[blob.location] = blob
        else:
            self.settle_rivals(blob, rival)

    def saw(self, seq: int) -> None:
        """Note a number in use: later ones will be higher, if it is a possible one."""
        if self.result.max_seq < seq <= MAX_PLAUSIBLE_SEQ:
            self.result.max_seq = seq

    def look_at(self, blob_id: int) -> None:
        """Judge a folder that is not plain. Nothing about one blob ends the run."""
        self.result.seen += 1
        try:
            self.judge(blob_id)
        except SyncFailed:
            raise
        except OSError as err:
            if err.errno in SHORTAGE_ERRNOS:
                raise
            self.result.unreadable[blob_id] = err.strerror or str(err)
        except MemoryError:
            self.result.unreadable[blob_id] = "not enough memory"
        except Exception as err:
            log.exception("blob %d: cannot be judged", blob_id, extra=about(blob_id))
            self.quarantine(blob_id, None, 0, f"it cannot be judged: {err!r}"[:300])

    def read_again(self) -> None:
        """Try once more what the disk did not give. Errors may pass; a bad sector takes seconds a try."""
        unreadable = self.result.unreadable
        end = time.monotonic() + READ_AGAIN_S
        for pause_s in READ_AGAIN_AFTER_S:
            if not unreadable or time.monotonic() > end:
                break
            time.sleep(pause_s)
            for blob_id in list(unreadable):
                if time.monotonic() > end:
                    break
                del unreadable[blob_id]
                self.result.seen -= 1
                self.look_at(blob_id)
        for blob_id, reason in unreadable.items():
            log.error("blob %d: cannot be read (%s): left where it is", blob_id, reason, extra=about(blob_id))

    def judge(self, blob_id: int) -> None:
        """Decide what a folder is. Raises OSError if the disk gives an error."""
        try:
            found = blob_folder.read_record(self.data_dir, blob_id)
        except FileNotFoundError:
            self.without_state(blob_id)
            return
        except CorruptRecord as err:
            self.quarantine(blob_id, None, 0, str(err))
            return
        self.saw(found.seq)
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
            size = self.size_of(found)
            # The original's records have no checksums: compute them once, now, while nobody reads.
            if found.is_original and (rival is None or rank(found) > rank(rival)):
                found = self.adopt(found, size)
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
        if not self.is_in_its_folder(older):
            self.result.unreadable[older.id] = (
                "its folder was changed"  # what is there now is judged for itself
            )
            return
        self.result.superseded += 1
        if not self.to_failure(older.id, older.location, MSG_SUPERSEDED):
            self.result.unsettled.setdefault(older.location, []).append(older.id)

    def is_in_its_folder(self, blob: Blob) -> bool:
        """False if somebody put another state into its folder, or none: an index says what was there."""
        try:
            found = blob_folder.read_record(self.data_dir, blob.id)
        except (CorruptRecord, FileNotFoundError):
            return False
        except OSError:
            return True  # nobody knows: it is left as it is
        return (found.location, found.seq) == (blob.location, blob.seq)

    def size_of(self, found: BlobRecord) -> int:
        """The size of its data, checked against its record. Raises Damaged."""
        try:
            return blob_folder.check_size(self.data_dir, found)
        except Damaged:
            cannot = self.dry_run or self.data_dir.read_only
            if cannot or not blob_folder.finish_publish(self.data_dir, found.id, found.size):
                raise
            return blob_folder.check_size(self.data_dir, found)
        except OSError as err:
            if err.errno in SHORTAGE_ERRNOS:
                raise
            # Its state is whole: it is served, and a read will find the fault.
            log.error("blob %d of %r: data.raw: %s", found.id, found.location, err.strerror)
            return found.size

    def adopt(self, found: BlobRecord, size: int) -> BlobRecord:
        """The blob with its checksums, also on disk; without if that takes long, or the disk refuses."""
        if size > self.adopt_bytes:
            return self.adopt_later(found, size)
        self.adopt_bytes -= size
        try:
            adopted = with_sums(self.data_dir, found)
        except OSError as err:
            if err.errno in SHORTAGE_ERRNOS:
                raise
            log.error("blob %d of %r: data.raw: %s", found.id, found.location, err.strerror)
            return self.adopt_later(found, size)
        self.result.adopted += 1
        what = f"blob {found.id}: adopted from the original server"
        self.attempt(
            (found.id, found.location), what, lambda: blob_folder.write_record(self.data_dir, adopted)
        )
        return adopted

    def adopt_later(self, found: BlobRecord, size: int) -> BlobRecord:
        self.unadopted[found.id] = found.location
        return msgspec.structs.replace(found, size=size, sha256=bytes(32))

    def set_aside_unadopted(self) -> None:
        """Take a blob back that counted as live, to rank it with the others of its location."""
        result = self.result
        if not self.unadopted:
            return
        for blob_id, location in self.unadopted.items():
            served_now = result.live.get(location)
            if served_now is None or served_now.id != blob_id:
                continue
            blob = result.unadopted[location] = result.live.pop(location)
            what = "blob %d of %r: served once its checksums are computed, in the background: %d bytes"
            log.info(what, blob.id, location, blob.size, extra=about(blob.id, location))

    def to_failure(self, blob_id: int, location: str, message: str) -> bool:
        def change() -> None:
            found = blob_folder.read_record(self.data_dir, blob_id)  # with its history
            keeps = message == MSG_SUPERSEDED  # replaced as its server died: the gc may keep it
            blob_folder.fail(self.data_dir, found, message, time.time_ns(), keeps=keeps)

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
        # A create writes both files under temporary names, and renames the state last: while the state has
        # its temporary name, the blob was never acknowledged. Data without any state is damage. So is a
        # temporary state that was to end the blob's life, since that life had begun.
        if layout.DATA_NAME in names and not has_unborn_state(self.data_dir, blob_id):
            self.quarantine(blob_id, None, 0, "its state file is missing")
        elif names <= NEVER_COMPLETE:
            self.result.removed += 1
            what = f"blob {blob_id}: never complete, removed"
            self.attempt((blob_id, None), what, lambda: blob_folder.discard(self.data_dir, blob_id))
        else:
            self.quarantine(blob_id, None, 0, "its state file is missing and foreign files are in its folder")

    def quarantine(self, blob_id: int, location: str | None, seq: int, reason: str) -> None:
        # The note of an interrupted quarantine knows more than a state that does not parse.
        note = quarantine.read_note(self.data_dir.folder(blob_id))
        if note is not None and location is None:
            location, seq = note.location, note.seq
        self.result.quarantined.append((blob_id, reason))

        def change() -> None:
            self.result.moved.append(quarantine.move_in(self.data_dir, blob_id, location, seq, reason))

        what = f"blob {blob_id} of {location!r}: damaged, quarantined: {reason}"
        if self.attempt((blob_id, location), what, change, logging.ERROR):
            return
        # It is where it was, and must not be served: no name says so.
        if location is None:
            self.unmoved.append(self.data_dir.folder(blob_id))
        else:
            note = Note(blob_id, location, seq, reason, rfc3339(time.time_ns()))
            self.result.damaged[location] = ("", note)

    def attempt(
        self, blob: tuple[int, str | None], what: str, change: Callable[[], object], level: int = logging.INFO
    ) -> bool:
        """Do `change` and log it; False if the disk refused."""
        if self.data_dir.read_only:
            log.log(level, "%s: left as it is: the directory is read-only", what, extra=about(*blob))
            return False
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

    def withhold_unplaced(self) -> None:
        """Do not serve these locations: their folders do not agree with the journal."""
        result = self.result
        for location in result.unplaced:
            if location in result.live:
                result.live.pop(location)
            result.damaged.pop(location, None)

    def know_the_quarantined(self) -> None:
        """Which locations are damaged: in quarantine, known by name, not written or deleted since."""
        known, nameless, max_seq = damaged_locations(self.data_dir, self.result.live, self.release)
        self.result.nameless = [*nameless, *self.unmoved]
        self.saw(max_seq)
        for location, found in known.items():
            self.result.damaged.setdefault(location, found)  # what could not be moved now is newer

    def release(self, name: str, note: Note) -> None:
        self.attempt(
            (note.id, note.location),
            f"quarantine {name} of {note.location!r}: answered for by a newer blob",
            lambda: quarantine.release(self.data_dir, name, note),
        )


def look_again(data_dir: Layout, blob_id: int, current: Blob | None) -> Reconciled:
    """Judge one blob that the start left as it was. `current`: what its location has now, if it is known.

    For the holder of the lock, with nothing left in the journal. The result's `live` has what the location
    shall have. Raises SyncFailed, OSError.
    """
    run = Reconciliation(data_dir, dry_run=False)
    run.adopt_bytes = 0
    if current is not None:
        run.result.live[current.location] = current
    run.look_at(blob_id)
    run.set_aside_unadopted()
    blob_folder.hint(data_dir, run.result.failures)
    return run.result
