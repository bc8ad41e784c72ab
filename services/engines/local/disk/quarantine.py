"""Damaged blobs on disk: moved whole to DIR/.quarantine/, each with a note, and removed only by operators.

    move_in:  note in the folder, synced > rename it to DIR/.quarantine/<id>-<seq> > both folders synced
    release:  the note says that the location was written or deleted since, so that nobody misses the blob
    drop:     rename it to DIR/.gone/ > DIR/.quarantine/ synced > remove it

For the holder of the state lock (design rule 1), but for `drop`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time

import msgspec

from common import durable
from common.errors import CorruptRecord
from common.times import rfc3339
from services.engines.local.disk import layout
from services.engines.local.disk.blob_folder import is_folder, read_file
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record_json import Id, Location, Seq


class Note(msgspec.Struct, frozen=True):
    """What `quarantine.json` has on a damaged blob. `released`: its location was written or deleted since."""

    id: Id
    location: Location | None
    seq: Seq
    reason: str
    time: str
    released: bool = False


def move_in(data_dir: Layout, blob_id: int, location: str | None, seq: int, reason: str) -> tuple[str, Note]:
    """Move a damaged blob's whole folder to quarantine, durably. Returns its new name, and its note.

    The note is written first, so that the next `reconcile` finishes an interrupted move. If the disk refuses
    the note, the folder moves without it.
    """
    path = data_dir.folder(blob_id)
    if not is_folder(path):
        raise FileNotFoundError(errno.ENOENT, "its folder is gone", path)
    note = Note(blob_id, location, seq, reason, rfc3339(time.time_ns()))
    with contextlib.suppress(OSError):
        durable.replace_durably(f"{path}/{layout.NOTE_NAME}", msgspec.json.encode(note))
    home = data_dir.ours(layout.QUARANTINE_NAME)
    durable.make_folder_durably(home)
    name = f"{blob_id}-{seq}"
    count = 1
    while os.path.lexists(f"{home}/{name}"):
        count += 1
        name = f"{blob_id}-{seq}-{count}"
    with contextlib.ExitStack() as opened:
        folder_fds = []
        for parent in (home, data_dir.parent(blob_id)):  # first: after an OSError it stays where it is
            folder_fds.append(durable.open_folder(parent))
            opened.callback(os.close, folder_fds[-1])
        # A part that is left with the state is judged damaged at the next start, and follows with its note.
        durable.move_folder(path, f"{home}/{name}", last=layout.STATE_NAME)
        for fd in folder_fds:
            durable.sync_open_folder(fd)
    return name, note


def read_note(path: str) -> Note | None:
    """The note in a folder in quarantine, or on its way there; None if there is none that can be read."""
    try:
        return msgspec.json.decode(read_file(f"{path}/{layout.NOTE_NAME}"), type=Note)
    except (OSError, CorruptRecord, msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def release(data_dir: Layout, name: str, note: Note) -> None:
    """Remember, durably, that the location of the damaged blob `name` was written or deleted."""
    folder_fd = durable.open_folder(folder(data_dir, name))
    try:
        prepare_release(data_dir, name, note)
        finish_release(data_dir, name, folder_fd)
    finally:
        os.close(folder_fd)


def prepare_release(data_dir: Layout, name: str, note: Note) -> None:
    """The part of `release` that needs room on the disk; nothing is visible yet."""
    payload = msgspec.json.encode(msgspec.structs.replace(note, released=True))
    durable.write_file(_note_path(data_dir, name) + ".tmp", payload, synced=True)


def finish_release(data_dir: Layout, name: str, folder_fd: int) -> None:
    """Durable once this returns. `folder_fd`: its folder, open since before anything was visible."""
    path = _note_path(data_dir, name)
    durable.rename(path + ".tmp", path)
    durable.sync_open_folder(folder_fd)


def forget_release(data_dir: Layout, name: str) -> None:
    """Undo `prepare_release`."""
    durable.remove_file(_note_path(data_dir, name) + ".tmp")


def folder(data_dir: Layout, name: str) -> str:
    """The folder `name` in DIR/.quarantine."""
    return f"{data_dir.ours(layout.QUARANTINE_NAME)}/{name}"


def _note_path(data_dir: Layout, name: str) -> str:
    return f"{folder(data_dir, name)}/{layout.NOTE_NAME}"


def drop(data_dir: Layout, name: str) -> int:
    """Remove a folder in quarantine, only on the operator's order; returns the bytes freed.

    One rename takes it away, as the gc does it, and a gc finishes an interrupted removal. Raises
    FileNotFoundError, and NotADirectoryError if it is a link, say: then nothing is removed.
    """
    gone, quarantine = data_dir.ours(layout.GONE_NAME), data_dir.ours(layout.QUARANTINE_NAME)
    target = f"{gone}/quarantine-{name}"
    with contextlib.suppress(FileExistsError):
        durable.make_folder(gone)
    for path in (gone, quarantine, f"{quarantine}/{name}"):
        if os.path.lexists(path) and not is_folder(path):
            raise NotADirectoryError(errno.ENOTDIR, "it is no folder", path)
    durable.remove_tree(target, under=data_dir.root)
    durable.move_folder(f"{quarantine}/{name}", target)
    durable.sync_folder(quarantine)
    return durable.remove_tree(target, under=data_dir.root)
