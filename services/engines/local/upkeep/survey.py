"""Reads what is on disk without changing or judging anything: for the tools and the operator's check.

Needs no lock, so a server may write meanwhile. Each record is whole, since states are replaced atomically,
but all records together are not of one moment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from common.errors import SHORTAGE_ERRNOS, CorruptRecord
from common.progress import nothing
from common.states import State
from services.engines.local.disk import blob_folder, layout, quarantine
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.quarantine import Note
from services.engines.local.disk.record import BlobRecord, rank
from services.engines.local.upkeep.folder_round import FolderRound, count_folders


@dataclass
class UnreadableFolder:
    """A folder whose state file cannot be read."""

    id: int
    reason: str


@dataclass
class Quarantined:
    """A folder in quarantine. `note` and `record` are None if they cannot be read."""

    name: str
    path: str
    note: Note | None
    record: BlobRecord | None


def records(
    data_dir: Layout, progress: Callable[[int, int], None] = nothing
) -> Iterator[BlobRecord | UnreadableFolder]:
    """The record of every folder, in any order. Folders that vanish are skipped."""
    folders, total = FolderRound(data_dir), count_folders(data_dir)
    while (blob_id := folders.next_id()) is not None:
        progress(folders.done, total)
        try:
            yield blob_folder.read_record(data_dir, blob_id)
        except FileNotFoundError:
            continue  # not yet a blob, or no longer one
        except CorruptRecord as err:
            yield UnreadableFolder(blob_id, str(err))
        except OSError as err:
            if err.errno in SHORTAGE_ERRNOS:
                raise
            yield UnreadableFolder(blob_id, f"its state cannot be read: {err.strerror}")


def live_among(found: list[BlobRecord]) -> dict[str, BlobRecord]:
    """By location: which complete blobs are served. Of two the one of the higher rank."""
    live: dict[str, BlobRecord] = {}
    for record in found:
        rival = live.get(record.location)
        if record.state is State.COMPLETE and (rival is None or rank(record) > rank(rival)):
            live[record.location] = record
    return live


def quarantined(data_dir: Layout) -> list[Quarantined]:
    """What is in quarantine, by name."""
    home = data_dir.ours(layout.QUARANTINE_NAME)
    names = sorted(os.listdir(home)) if os.path.isdir(home) else []
    found = []
    for name in names:
        path = f"{home}/{name}"
        try:
            record = blob_folder.read_record_in(path, None)
        except (OSError, CorruptRecord):
            record = None
        found.append(Quarantined(name, path, quarantine.read_note(path), record))
    return found
