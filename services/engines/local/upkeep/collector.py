"""The gc's passes: they remove the folders of blobs in state Failure, each not before its time (`keeping`).

They only use the disk, and work whether a server runs or not. Failure is final (design rule 2), so they need
no state lock. The gc has a lock of its own. It keeps a second gc, started by mistake, from renaming a folder
that the first has judged, and whose id is used again.

A pass reads only what may have changed since the last one:
- the ids in the hint file, to which the lock holder appends: their folders are removed within a pass;
- a slice of all folders. It reads a state file only if its change time is later than the last look. So a
  Failure without a hint is found within one round of slices.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import re
import time
from collections.abc import Iterator

import msgspec

from common import logs
from common.errors import CorruptRecord
from common.progress import Progress
from common.self_report import MAX_NAMED, NamedBlob
from common.worker import Worker
from services.engines.local.disk import blob_folder, directory, keeping, layout, locks
from services.engines.local.disk.keeping import Keeping
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord
from services.engines.local.journal import format as journal
from services.engines.local.upkeep import trash
from services.engines.local.upkeep.folder_round import FolderRound
from services.engines.local.upkeep.hints import Hints
from services.engines.local.upkeep.kept import Kept

log = logging.getLogger("gc")

# To look at a state file costs 5 µs, to read it (in the first round) 15: 1,024 in 5 s are 0.1 to 0.3 % of a
# core. A store of up to that many blobs is checked in every pass; 60,000 take 5 minutes. If a Failure without
# a hint is found there may be more, so the rest of the round is then done at once.
SLICE_FOLDERS = 1024
# Change times have the granularity of the kernel's clock tick; a look must overlap the one before.
OVERLAP_NS = 1_000_000_000
_LEFTOVER = re.compile(r"(quarantine-)?\d+-\d+(-\d+)?")  # what is on its way out, in DIR/.gone
REMOVED_AT_ONCE = 256  # folders that share the sync of their leaving
LOOKED_AT_AT_ONCE = 1024  # folders, before an export that waits may begin: some 15 ms


class Collector(Worker):
    """One gc on one directory. `run_once` is one pass; it is safe to be killed at any instruction."""

    def __init__(
        self,
        data_dir: Layout,
        interval_s: float,
        *,
        slice_folders: int = SLICE_FOLDERS,
        options: Keeping = Keeping(),  # noqa: B008 - frozen
        min_free_bytes: int = 0,
    ) -> None:
        super().__init__("gc", interval_s, data_dir.reports_dir)
        self._data_dir = data_dir
        self._options = options
        self._kept = Kept(data_dir, min_free_bytes)
        self._given_up: set[int] = set()  # of these, in this pass
        self._slice_folders = slice_folders
        self._still_to_do: set[int] = set()  # what could not be looked at or removed; only success clears it
        self._hurry = False  # the rest of this round in one pass
        self._round: FolderRound | None = None  # what it has still to look at
        self._unread_rows = 0  # of it, in this pass
        self._round_began_ns = 0
        self._last_round_ns = 0  # when the round before began: what is older was looked at then
        self._lock = locks.FileLock(data_dir.ours(layout.GC_LOCK_NAME), "gc")
        self._hold = locks.FileLock(data_dir.ours(layout.GC_HOLD_NAME), "gc", says=False)
        self._wanted = locks.FileLock(data_dir.ours(layout.GC_WANTED_NAME), "gc", says=False)
        self._said: set[str] = set()
        self._hints = Hints(data_dir, self._say_once)
        self._is_told = False  # that the blob which this pass looks at is Failure
        self.total_removed = 0

    def run_once(self) -> str | None:
        """One pass. Returns its log line, None if there was nothing to do."""
        if directory.is_read_only(self._data_dir.root):
            text = "the data directory is read-only: nothing is removed until it can be written"
            self._say_once(text, logging.WARNING)
            return None
        if not self._lock.try_acquire():
            return None  # another gc is at work; this one takes over when that one ends
        if journal.needs_replay(self._data_dir):
            return None  # after a system crash the folders may be older than what was acknowledged
        if self._is_wanted():
            return None  # passes that follow each other at once would never let an export begin
        if not self._hold.try_acquire():
            return None  # an export takes its snapshot: what it has not come to yet must stay
        with self._hold:
            return self._pass()

    def _pass(self) -> str | None:
        began = time.monotonic()
        removed = freed_bytes = errors = 0
        self._named: list[NamedBlob] = []
        freed_bytes += self._finish_leftovers()
        taken_out: dict[str, BlobRecord] = {}  # by their names in DIR/.gone
        is_in_a_hurry, self._hurry = self._hurry, False
        self._unread_rows = 0
        with Progress("gc pass", "folders") as progress:
            for done, blob_id in enumerate(self._suspects(is_in_a_hurry)):
                progress(done, 0)
                try:
                    found = self._if_due(blob_id)
                    if found is not None and (name := self._take_out(found)) is not None:
                        taken_out[name] = found
                    elif found is not None:
                        freed_bytes += self._remove_in_place(found)
                        removed += 1
                    self._still_to_do.discard(blob_id)
                except OSError as err:
                    errors += 1
                    self._still_to_do.add(blob_id)
                    log.error("blob %d: could not be removed: %s", blob_id, err, extra=logs.about(blob_id))
                if self.should_stop():
                    break
                if len(taken_out) == REMOVED_AT_ONCE:
                    removed += len(taken_out)
                    freed_bytes += self._remove(taken_out)
                    taken_out = {}
                elif self._is_told or (done + 1) % LOOKED_AT_AT_ONCE:
                    continue
                if self._is_wanted():
                    # The rest stays in the hints and in the round.
                    self._hurry = self._hurry or is_in_a_hurry
                    break
        removed += len(taken_out)
        freed_bytes += self._remove(taken_out)
        errors += self._unread_rows
        self.total_removed += removed
        self.about_pass = msgspec.structs.replace(
            self.about_pass,
            found=removed + errors,
            removed=removed,
            freed_bytes=freed_bytes,
            errors=errors,
            named=tuple(self._named),
            kept=len(self._kept),
            kept_bytes=self._kept.bytes,
        )
        if not removed and not errors and not freed_bytes:
            return None
        seconds = time.monotonic() - began
        return f"removed={removed} freed_bytes={freed_bytes} errors={errors} in {seconds:.2f} s"

    def close(self) -> None:
        """Release the gc's lock, so that another may take over. The end of the process does the same."""
        self._lock.release()

    def _is_wanted(self) -> bool:
        """True while an export waits for this gc to stand still."""
        if not self._wanted.try_acquire():
            return True
        self._wanted.release()
        return False

    def _suspects(self, is_in_a_hurry: bool) -> Iterator[int]:
        """First the ids that this pass need not look for."""
        self._given_up = self._kept.given_up()
        if self._given_up:
            log.info("%d blobs that were kept after their end are given up for room", len(self._given_up))
        self._is_told = True
        self._still_to_do.update(self._given_up, self._kept.due(time.time_ns()))
        yield from list(self._still_to_do)
        for some in self._hints.pieces():
            yield from some
        self._is_told = False
        yield from self._slice(is_in_a_hurry)

    def _say_once(self, text: str, level: int = logging.ERROR) -> None:
        if text not in self._said:
            self._said.add(text)
            log.log(level, "%s", text)

    def _slice(self, is_in_a_hurry: bool) -> Iterator[int]:
        """Of the next folders those that may have changed; a new round begins where one is over."""
        if self._round is None or self._round.is_over:
            now_ns = time.time_ns()
            # A clock that went back would hide changes: then this round reads everything.
            back = now_ns < self._round_began_ns
            if self._round is None or not self._round.missed:  # else it looks at what that one looked at, too
                self._last_round_ns = self._round_began_ns
            self._last_round_ns = 0 if back else self._last_round_ns
            self._round_began_ns = now_ns
            self._round = FolderRound(self._data_dir)
        for _ in itertools.count() if is_in_a_hurry else range(self._slice_folders):
            try:
                blob_id = self._round.next_id()
            except OSError as err:  # it goes on with the other rows
                self._unread_rows += 1
                self._say_once(f"what is in it is not looked at: {err}")
                continue
            if blob_id is None:
                return
            if self._may_have_changed(blob_id):
                yield blob_id

    def _may_have_changed(self, blob_id: int) -> bool:
        try:
            found = os.stat(self._data_dir.state(blob_id), follow_symlinks=False)
        except OSError:
            return False  # no state, no Failure: nothing for the gc
        return max(found.st_ctime_ns, found.st_mtime_ns) >= self._last_round_ns - OVERLAP_NS

    def _if_due(self, blob_id: int) -> BlobRecord | None:
        """The blob's record if it is to be removed now; one to be removed later is remembered."""
        try:
            found = blob_folder.read_record(self._data_dir, blob_id)
        except (FileNotFoundError, CorruptRecord):
            self._kept.forget(blob_id)
            return None  # gone, not yet a blob, or damaged: the lock holder's business
        now_ns = time.time_ns()
        until_ns = keeping.not_before(found, self._options, now_ns)
        if until_ns == keeping.NEVER:
            self._kept.forget(blob_id)
            return None
        is_known = self._is_told or blob_id in self._still_to_do or blob_id in self._kept
        self._hurry = self._hurry or not is_known
        if until_ns > now_ns and blob_id not in self._given_up:
            self._kept.keep(blob_id, until_ns, found.size)
            return None
        self._kept.forget(blob_id, until_ns)
        return found

    def _take_out(self, blob: BlobRecord) -> str | None:
        """Its name in DIR/.gone; None if the file system cannot rename folders there."""
        try:
            return trash.take_out(self._data_dir, blob.id, blob.seq)
        except OSError as err:
            if err.errno != errno.EXDEV:
                raise
            return None

    def _remove_in_place(self, blob: BlobRecord) -> int:
        freed_bytes = trash.remove_in_place(self._data_dir, blob.id)
        self._tell_removed(blob, freed_bytes)
        return freed_bytes

    def _tell_removed(self, blob: BlobRecord, freed_bytes: int) -> None:
        about = logs.about(blob.id, blob.location)
        log.debug("blob %d of %r: removed, %d bytes freed", blob.id, blob.location, freed_bytes, extra=about)
        if len(self._named) < MAX_NAMED:
            self._named.append(NamedBlob(blob.id, blob.location, f"{freed_bytes} bytes freed"))

    def _remove(self, taken_out: dict[str, BlobRecord]) -> int:
        """Remove what `take_out` moved; the bytes freed."""
        total_bytes = 0
        for name, freed_bytes in trash.remove_gone(self._data_dir, taken_out):
            self._tell_removed(taken_out[name], freed_bytes)
            total_bytes += freed_bytes
        return total_bytes

    def _finish_leftovers(self) -> int:
        """Remove what a gc that died left in DIR/.gone; the bytes freed."""
        folder = self._data_dir.ours(layout.GONE_NAME)
        if not blob_folder.is_folder(folder):
            if os.path.lexists(folder):
                self._say_once(f"{layout.GONE_NAME} is no folder: nothing can be removed")
            return 0
        ours = []
        for name in os.listdir(folder):
            if _LEFTOVER.fullmatch(name) and blob_folder.is_folder(f"{folder}/{name}"):
                ours.append(name)
            else:
                self._say_once(f"{layout.GONE_NAME}/{name} is not ours: left alone")
        return sum(freed_bytes for _, freed_bytes in trash.remove_gone(self._data_dir, ours))
