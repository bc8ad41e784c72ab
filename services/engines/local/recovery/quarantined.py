"""Finds the damaged locations from the folders in quarantine: the last step of recovery."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Container

import msgspec

from common.errors import CorruptRecord
from common.logs import about
from common.states import State
from services.engines.local.disk import blob_folder, layout, quarantine
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.quarantine import Note
from services.engines.local.disk.record_json import MAX_PLAUSIBLE_SEQ

log = logging.getLogger(__name__)


def damaged_locations(
    data_dir: Layout, live: Container[str], release: Callable[[str, Note], None]
) -> tuple[dict[str, tuple[str, Note]], list[str], int]:
    """By location: (folder in quarantine, its note), the newest that was not written or deleted since.

    Then the paths of folders whose location is unknown, and the highest sequence number in quarantine. If a
    note has no location, the state is read, which may be readable now. `release` is called for folders whose
    location has a newer blob: a live one, if a process died before it released the folder, or one in
    quarantine.
    """
    home = data_dir.ours(layout.QUARANTINE_NAME)
    names = os.listdir(home) if blob_folder.is_folder(home) else []
    nameless: list[str] = []
    damaged: dict[str, tuple[str, Note]] = {}
    max_seq = 0
    for name in sorted(names):
        blob_id, dash, _ = name.partition("-")
        if not dash or not blob_id.isdecimal() or not blob_folder.is_folder(f"{home}/{name}"):
            continue  # not ours
        note = quarantine.read_note(f"{home}/{name}")
        if note is None or (note.location is None and not note.released):
            note, is_harmless = _note_from_state(f"{home}/{name}", int(blob_id), note)
            if is_harmless:
                continue
        if note is not None and note.seq <= MAX_PLAUSIBLE_SEQ:
            max_seq = max(max_seq, note.seq)
        if note is None or note.location is None:
            nameless.append(f"{home}/{name}")
            continue
        if note.released:
            continue
        known = damaged.get(note.location)
        if note.location in live or (known is not None and known[1].seq > note.seq):
            release(name, note)
            continue
        damaged[note.location] = (name, note)
        if known is not None:
            release(*known)
    return damaged, nameless, max_seq


def _note_from_state(folder: str, blob_id: int, note: Note | None) -> tuple[Note | None, bool]:
    """For a folder without a note, or whose note has no location: the location by its state.

    And whether no blob is missing because of it: it was never complete, or was already in Failure.
    """
    try:
        found = blob_folder.read_record_in(folder, blob_id)
    except (OSError, CorruptRecord):
        return note, False
    if found.state is not State.COMPLETE:
        return note, True
    if note is None:
        return Note(found.id, found.location, found.seq, "its note is missing", found.events[-1].at), False
    log.warning(
        "%s can be read again: it is blob %d of %r (`quarantine restore` serves it)",
        folder,
        found.id,
        found.location,
        extra=about(found.id, found.location),
    )
    return msgspec.structs.replace(note, location=found.location, seq=found.seq), False
