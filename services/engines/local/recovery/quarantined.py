"""Which locations are damaged, as the folders in quarantine tell: recovery's last question."""

from __future__ import annotations

import os
from collections.abc import Callable, Container

from common.errors import CorruptRecord
from common.states import State
from services.engines.local.disk import blob_folder, layout
from services.engines.local.disk.blob_folder import Note
from services.engines.local.disk.layout import Layout


def damaged_locations(
    data_dir: Layout, live: Container[str], release: Callable[[str, Note], None]
) -> tuple[dict[str, tuple[str, Note]], int]:
    """By location: (folder in quarantine, its note), the newest that was not written or deleted since.

    And the highest sequence number in quarantine. `release` is called for those that a newer blob answers
    for: one that is live, where a process died before it could say so, or one in quarantine.
    """
    home = data_dir.ours(layout.QUARANTINE_NAME)
    names = os.listdir(home) if os.path.isdir(home) else []
    damaged: dict[str, tuple[str, Note]] = {}
    max_seq = 0
    for name in sorted(names):
        note = blob_folder.read_note(f"{home}/{name}") or _note_from_state(f"{home}/{name}")
        if note is None:
            continue
        max_seq = max(max_seq, note.seq)
        if note.location is None or note.released:
            continue
        known = damaged.get(note.location)
        if note.location in live or (known is not None and known[1].seq > note.seq):
            release(name, note)
            continue
        damaged[note.location] = (name, note)
        if known is not None:
            release(*known)
    return damaged, max_seq


def _note_from_state(folder: str) -> Note | None:
    """Where the disk was too full for a note, or it rotted: the state tells whose blob it was."""
    try:
        found = blob_folder.read_record_in(folder, None)
    except (OSError, CorruptRecord):
        return None
    if found.state is not State.COMPLETE:
        return None
    return Note(found.id, found.location, found.seq, "its note is missing", found.events[-1].at)
