"""The recovery worker's passes: they check that what is on disk is still what was written.

They re-read blobs at a bounded rate and compare every checksum. Damage is reported to the server, which owns
the state. While no server holds the lock, they reconcile what a dead one left (design rule 1: the lock is
taken only when it is free, and released at once).
"""

from __future__ import annotations

import logging
import sys
import time

import msgspec

from common.progress import Progress
from common.self_report import MAX_NAMED, NamedBlob, Scrub
from common.worker import Worker
from services.engines.local.disk import directory, locks
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.leftovers import remove_leftovers
from services.engines.local.recovery.reconciled import Reconciled
from services.engines.local.recovery.restart import recover
from services.engines.local.upkeep import scrubber
from services.engines.local.upkeep.check import check
from services.engines.local.upkeep.damage_client import tell_server
from services.engines.local.upkeep.folder_round import FolderRound, count_folders

log = logging.getLogger("recovery")

# The time between two rounds over everything. Rot is found within this and the round's own time.
ROUND_PAUSE_S = 24 * 3600.0
# How long one pass re-reads at the most, so that a server's death is noticed soon.
PASS_S = 5.0
# A small blob costs 60 µs whatever its size. It counts as so many bytes, which keeps a round over small
# blobs at 0.3 % of a core (30 a second at the default rate: 60,000 in half an hour).
BLOB_COUNTS_AS_BYTES = 640 << 10
# Shorter waits are put off: each wait costs as much as a blob.
WAIT_FROM_S = 0.25
# How often a round logs its progress: it may take hours.
SCRUB_LINE_EVERY_S = 300.0


class Verifier(Worker):
    """One recovery worker. `run_once` is one pass: reconcile if nobody serves, then re-read for a while.

    `keeps_index`: the server keeps an index, so we do, too. `patience_s`: it reconciles only after so long
    without a server. A server with a valid index is back sooner than we could read every folder.
    """

    def __init__(
        self,
        data_dir: Layout,
        interval_s: float,
        rate_bytes_per_s: float,
        *,
        keeps_index: bool = False,
        patience_s: float = 0.0,
    ) -> None:
        super().__init__("recovery", interval_s, data_dir.reports_dir)
        self.data_dir = data_dir
        self._rate_bytes_per_s = rate_bytes_per_s
        self._lock = locks.StateLock(data_dir.root, "recovery", says=False)
        self._keeps_index = keeps_index
        self._patience_s = patience_s
        self._free_since_s: float | None = None
        self._round: FolderRound | None = None
        self._round_blobs = 0  # when it began
        self._next_round_at = 0.0
        self._round_tally = scrubber.ScrubTally()
        self._progress = _scrub_progress()
        self._is_reconciled = False  # since a server was last seen
        self._waits = False  # for a directory that can be written
        self._owed_s = 0.0  # to be waited for, by the rate
        self._sums = Scrub()

    def run_once(self) -> str | None:
        """One pass; returns its log line, None where nothing happened."""
        parts = []
        found = self.reconcile_if_free()
        if found is not None and found.changed:
            parts.append(f"reconciled: {found}")
        tally = self._scrub(PASS_S)
        if tally.damaged or tally.unreadable:
            parts.append(str(tally))
        return "; ".join(parts) or None

    def reconcile_if_free(self) -> Reconciled | None:
        """Reconcile, unless a server holds the lock, or nothing has changed since, or nothing can be."""
        if directory.is_read_only(self.data_dir.root):
            if not self._waits:
                log.warning("the data directory is read-only: nothing is reconciled until it can be written")
            self._waits, self._is_reconciled = True, False
            return None
        self._waits = False
        if not self._lock.try_acquire():
            self._is_reconciled, self._free_since_s = False, None
            return None
        try:
            self._free_since_s = self._free_since_s or time.monotonic()
            if self._is_reconciled or time.monotonic() - self._free_since_s < self._patience_s:
                return None
            self._lock.say()
            data_dir = directory.open_directory(self.data_dir.root, self.data_dir.id_bits, owner=True)
            with Progress("recovery", "folders") as progress:
                found, _ = recover(data_dir, self._lock, progress, keeps_index=self._keeps_index)
            if not found.by_index:  # to look into every folder would keep a server waiting: it does so itself
                remove_leftovers(data_dir, (blob.id for blob in found.live.values()))
            self._is_reconciled = not found.unreadable  # what the disk did not give is read again
            return found
        finally:
            self._lock.release()

    def _scrub(self, seconds: float) -> scrubber.ScrubTally:
        """Re-read blobs for about `seconds`, no faster than the rate; a round over all begins once a day."""
        began = time.monotonic()
        if self._round is None and began >= self._next_round_at:
            self._round_blobs = count_folders(self.data_dir)
            self._round = FolderRound(self.data_dir, shuffled=True)  # so that restarts do not starve the tail
            self._next_round_at = began + ROUND_PAUSE_S
            self._round_tally = scrubber.ScrubTally()
            self._progress = _scrub_progress()
        tally = scrubber.ScrubTally()
        was_under_way = self._round is not None
        while self._round is not None and time.monotonic() - began < seconds and not self.should_stop():
            self._progress(self._round.done, self._round_blobs)
            blob_id = self._round.next_id()
            if blob_id is None:
                self._round = None
                break
            damage = scrubber.check_blob(self.data_dir, blob_id, tally, self._slow_down)
            self._slow_down(BLOB_COUNTS_AS_BYTES)
            if damage is not None:
                tell_server(self.data_dir, damage.id, damage.location, damage.seq, damage.reason)
        self._round_tally.add(tally)
        if was_under_way and self._round is None and self._round_tally.checked:
            log.info("scrub round: %s", self._round_tally)
        self._keep(tally)
        return tally

    def _keep(self, tally: scrubber.ScrubTally) -> None:
        """For the self report: the sums, how far the round is, what was found damaged."""
        sums = self._sums
        self._sums = Scrub(
            sums.checked + tally.checked,
            sums.checked_bytes + tally.checked_bytes,
            sums.damaged + len(tally.damaged),
            self._round_blobs if self._round is not None else 0,
            max(0, self._round_blobs - self._round.done) if self._round is not None else 0,
            time.time() + self._next_round_at - time.monotonic(),
            sums.unreadable + len(tally.unreadable),
        )
        named = (NamedBlob(d.id, d.location, f"damaged: {d.reason}") for d in tally.damaged[:MAX_NAMED])
        self.about_pass = msgspec.structs.replace(
            self.about_pass, found=len(tally.damaged), named=tuple(named)
        )
        if self.about_me is not None:
            self.about_me.scrub = self._sums

    def _slow_down(self, read_bytes: int) -> None:
        self._owed_s += read_bytes / self._rate_bytes_per_s
        if self._owed_s >= WAIT_FROM_S:
            self.pause(self._owed_s)
            self._owed_s = 0.0


def _scrub_progress() -> Progress:
    return Progress("scrub", "blobs", every_s=SCRUB_LINE_EVERY_S, bar=False)


def check_once(data_dir: Layout, *, dry_run: bool, keeps_index: bool = False) -> int:
    """The operator's check: reconcile unless a server serves, re-read everything, print a table.

    Returns the exit status: 1 if anything is damaged, in place or in quarantine, else 0. With `dry_run`
    nothing changes, and nothing is reported to a server. `keeps_index`: see `check`.
    """
    report = check(data_dir, dry_run=dry_run, keeps_index=keeps_index)
    table = [f"{name:34} {count:>14,}" for name, count in report.lines()]
    sys.stdout.write("\n".join([*table, *report.damage()]) + "\n")
    return 0 if report.is_well else 1
