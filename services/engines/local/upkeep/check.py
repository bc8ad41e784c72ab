"""The operator's check of a whole directory: reconcile unless a server serves, then re-read everything.

`python -m services.recovery --once` and `blobkeep check` do this. While a server runs nothing is reconciled,
since the state is the server's: damage is reported to the server, which acts on it.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from common.progress import Progress
from common.states import State
from services.engines.local.disk import directory, locks
from services.engines.local.disk.layout import Layout
from services.engines.local.recovery.reconcile import reconcile
from services.engines.local.recovery.reconciled import Reconciled
from services.engines.local.recovery.restart import recover
from services.engines.local.upkeep import scrubber, survey
from services.engines.local.upkeep.damage_client import tell_server
from services.engines.local.upkeep.folder_round import FolderRound, count_folders


@dataclass
class Counted:
    """A directory that a server owns, as far as it can be seen from outside. Counts are blobs."""

    live: int = 0
    pending: int = 0
    failure: int = 0


@dataclass
class Report:
    """What a check found. `reconciled` is None if a server serves; then `counted` has the counts."""

    reconciled: Reconciled | None = None
    counted: Counted = field(default_factory=Counted)
    tally: scrubber.ScrubTally = field(default_factory=scrubber.ScrubTally)
    waiting: list[survey.Quarantined] = field(default_factory=list)  # in quarantine, and not answered for yet
    dry_run: bool = False

    @property
    def is_well(self) -> bool:
        """False if any blob cannot be read, or is damaged, in place or in quarantine, and was not written or
        deleted since.
        """
        found = self.reconciled
        is_well = found is None or not (found.quarantined or found.unreadable)
        return is_well and not (self.tally.damaged or self.tally.unreadable or self.waiting)

    def lines(self) -> list[tuple[str, int]]:
        """The table: what, and how many."""
        found = self.reconciled
        if found is None:
            table = [
                ("blobs served", self.counted.live),
                ("bytes re-read", self.tally.checked_bytes),
                ("uploads under way", self.counted.pending),
                ("in Failure, for the gc", self.counted.failure),
            ]
            quarantined_now = 0
        else:
            table = [
                ("blobs served", len(found.live)),
                ("bytes re-read", self.tally.checked_bytes),
                ("in Failure, for the gc", len(found.failures)),
                ("interrupted, settled", found.interrupted),
                ("superseded, settled", found.superseded),
                ("adopted from the original server", found.adopted),
                ("never complete, removed", found.removed),
                ("foreign names, left alone", len(found.foreign)),
                ("not adopted yet: the server will", len(found.unadopted)),
            ]
            quarantined_now = len(found.quarantined)
        return [
            *table,
            ("damaged", len(self.tally.damaged)),
            ("cannot be read, left in place", len(self.unreadable)),
            ("quarantined now", quarantined_now),
            ("quarantined before", len(self.waiting)),
        ]

    @property
    def unreadable(self) -> dict[int, str]:
        """By id, why: blobs that could not be read."""
        found = dict(self.reconciled.unreadable) if self.reconciled is not None else {}
        return found | {one.id: one.reason for one in self.tally.unreadable}

    def damage(self) -> list[str]:
        """One sentence for each blob that is damaged or cannot be read."""
        told = [f"cannot be read: blob {n}: {reason}" for n, reason in self.unreadable.items()]
        told += [f"damaged: blob {d.id} of {d.location!r}: {d.reason}" for d in self.tally.damaged]
        if self.reconciled is not None:
            told += [f"quarantined: blob {n}: {reason}" for n, reason in self.reconciled.quarantined]
        for entry in self.waiting:
            if entry.note is not None:
                location, reason = entry.note.location, entry.note.reason
                told.append(f"in quarantine: {entry.name} of {location!r}: {reason}")
            else:
                told.append(f"in quarantine: {entry.name}: its note cannot be read")
        return told


def check(data_dir: Layout, *, dry_run: bool, keeps_index: bool = False) -> Report:
    """Reconcile unless a server serves, then re-read everything. With `dry_run` nothing changes on disk.

    `keeps_index`: the server keeps an index, so a new one is made of all that is read.
    Raises OSError and SyncFailed if the disk does not allow to reconcile.
    """
    report = Report(dry_run=dry_run)
    held = locks.StateLock(data_dir.root, "check")
    # In a dry run nothing is written, so nobody need wait, and the lock's file is not made.
    serving = not (locks.is_free(data_dir.root) if dry_run else held.try_acquire())
    before = {entry.name for entry in survey.quarantined(data_dir)}
    try:
        if not serving and not dry_run:
            data_dir = directory.open_directory(data_dir.root, data_dir.id_bits, owner=True)
        if not serving:
            with Progress("recovery", "folders") as progress:
                report.reconciled = (
                    reconcile(data_dir, dry_run=True, progress=progress)
                    if dry_run
                    else recover(data_dir, held, progress, keeps_index=keeps_index, reads_all=True)[0]
                )
    finally:
        held.release()
    live: Container[str]
    if report.reconciled is not None:
        live = report.reconciled.live
    else:
        asked = {entry.note.location for entry in survey.quarantined(data_dir) if entry.note is not None}
        report.counted, live = _count(data_dir, asked)
    folders, total = FolderRound(data_dir), count_folders(data_dir)
    with Progress("re-reading", "blobs") as progress:
        while (blob_id := folders.next_id()) is not None:

            def tell(read_bytes: int) -> None:
                progress(folders.done, total)  # within a large blob, too

            tell(0)
            damage = scrubber.check_blob(data_dir, blob_id, report.tally, tell)
            if damage is not None and serving and not dry_run:
                tell_server(data_dir, damage.id, damage.location, damage.seq, damage.reason)
    report.waiting = [
        entry
        for entry in survey.quarantined(data_dir)
        if entry.name in before and not _is_answered(entry, live)
    ]
    return report


def _is_answered(entry: survey.Quarantined, live: Container[str]) -> bool:
    """True if its location was written or deleted since: nobody misses it any more."""
    note = entry.note
    return note is not None and (note.released or (note.location is not None and note.location in live))


def _count(data_dir: Layout, asked: Container[str | None]) -> tuple[Counted, Container[str]]:
    """What is there, and which of the locations `asked` are live. One replaced meanwhile may count twice."""
    counted, live = Counted(), set()
    for entry in survey.records(data_dir):
        if isinstance(entry, survey.UnreadableFolder):
            continue
        if entry.state is State.COMPLETE:
            counted.live += 1
            if entry.location in asked:
                live.add(entry.location)
        elif entry.state is State.FAILURE:
            counted.failure += 1
        else:
            counted.pending += 1
    return counted, live
