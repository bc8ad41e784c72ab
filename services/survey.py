"""What is on disk, read without changing or judging anything: for the tools and the operator's check.

Needs no lock, so a server may write meanwhile: each record is whole (states are replaced atomically), the
sum of them is not of one instant.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from common import blobdir, directory, layout
from common.blobdir import Note
from common.errors import CorruptRecord
from common.layout import Layout
from common.progress import nothing
from common.record import BlobRecord
from common.states import State


@dataclass
class Unreadable:
    """A folder whose state file does not tell what it holds."""

    id: int
    reason: str


@dataclass
class Quarantined:
    """A folder in quarantine. `note` and `record` are None where they cannot be read."""

    name: str
    path: str
    note: Note | None
    record: BlobRecord | None


def records(
    where: Layout, progress: Callable[[int, int], None] = nothing
) -> Iterator[BlobRecord | Unreadable]:
    """The record of every folder, in the order of the directory. What vanishes meanwhile is passed over."""
    ids = directory.ids_in(where)
    for done, blob_id in enumerate(ids):
        progress(done, len(ids))
        try:
            yield blobdir.read_record(where, blob_id)
        except FileNotFoundError:
            continue  # not yet a blob, or no longer one
        except CorruptRecord as err:
            yield Unreadable(blob_id, str(err))


def live_among(found: list[BlobRecord]) -> dict[str, BlobRecord]:
    """By location: which complete blobs are served. Of two the higher sequence number, as in recovery."""
    live: dict[str, BlobRecord] = {}
    for record in found:
        rival = live.get(record.location)
        if record.state is State.COMPLETE and (rival is None or record.seq > rival.seq):
            live[record.location] = record
    return live


def quarantined(where: Layout) -> list[Quarantined]:
    """What is in quarantine, by name."""
    home = where.ours(layout.QUARANTINE_NAME)
    names = sorted(os.listdir(home)) if os.path.isdir(home) else []
    found = []
    for name in names:
        path = f"{home}/{name}"
        try:
            record = blobdir.read_record_in(path, None)
        except (OSError, CorruptRecord):
            record = None
        found.append(Quarantined(name, path, blobdir.read_note(path), record))
    return found
