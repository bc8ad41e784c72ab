"""Reads a backup (`backup` has the format): its blobs one by one, each verified or named as a problem."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from common.errors import CorruptRecord, Damaged
from common.progress import nothing
from common.states import State
from services.engines.local.disk import layout, record
from services.engines.local.disk.record import BlobRecord, rank
from services.engines.local.journal import format as journal
from services.engines.local.upkeep.backup import Exported, NotABackup, Tar, verified

_NAME = re.compile(r"(?:\./)?((?:\d{1,5}/)?\d{1,5})/([^/]+)")
_MAX_STATE_BYTES = 64 << 20  # 9 bytes a MiB of data: one of 7 TiB


@dataclass
class Stored:
    """One complete blob of a backup. `chunks`: its bytes, compared as they are read; raises Damaged."""

    record: BlobRecord
    chunks: Callable[[], Iterator[bytes]]


class Backup:
    """An open backup. `problems`: sentences on damaged blobs. `is_whole`: its closing note was found.

    Both are complete when `blobs` has ended.
    """

    def __init__(self, path: str) -> None:
        """Open the file and read its states once, to choose for each location the blob to give.

        Takes some 100 bytes of memory a blob. Raises OSError; NotABackup for a file that is no tar, or that
        has a journal which was not replayed: its folders may lack acknowledged writes.
        """
        try:
            self._tar = Tar.open(path, "r:")
        except tarfile.TarError as err:
            raise NotABackup(f"{path} is no tar file that can be read: {err}.") from err
        self.problems: list[str] = []
        self.is_whole = False
        self._size_bytes = os.stat(path).st_size
        self._tell: Callable[[int], None] = lambda at: None
        try:
            self._outdone = _outdone(path)
        except BaseException:
            self._tar.close()
            raise

    def __enter__(self) -> Backup:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    def blobs(self, progress: Callable[[int, int], None] = nothing) -> Iterator[Stored]:
        """Each blob that a start would serve, in the order of the file. `progress`: bytes of the file."""
        self._tell = lambda at: progress(at, self._size_bytes)
        waiting: dict[str, dict[str, tarfile.TarInfo]] = {}  # by folder: what came of it so far
        while (member := self._next()) is not None:
            self._tell(member.offset)
            if member.name.removeprefix("./") == layout.EXPORTED_NAME:
                self._take_note(member)
            match = _NAME.fullmatch(member.name)
            if match is None or not member.isreg():
                continue
            files = waiting.setdefault(match[1], {})
            files[match[2]] = member
            if layout.STATE_NAME in files and layout.DATA_NAME in files:
                del waiting[match[1]]
                found = self._stored(match[1], files[layout.STATE_NAME], files[layout.DATA_NAME])
                if found is not None:
                    yield found
        for folder, files in waiting.items():
            if layout.STATE_NAME in files and self._record(folder, files[layout.STATE_NAME]) is not None:
                self.problems.append(f"folder {folder}: data.raw is missing")
        if not self.is_whole:
            self.problems.append(
                "The file has no closing note: it was cut short, or not made by `export`. "
                "What it holds is used."
            )

    def _next(self) -> tarfile.TarInfo | None:
        try:
            member = self._tar.next()
        except (tarfile.TarError, OSError) as err:
            self.problems.append(f"The file cannot be read further: {err}.")
            return None
        self._tar.forget()
        return member

    def _take_note(self, member: tarfile.TarInfo) -> None:
        """Take the closing note for what it says."""
        try:
            note = msgspec.json.decode(self._content(member), type=Exported)
        except (CorruptRecord, msgspec.DecodeError, UnicodeError) as err:
            self.problems.append(f"The closing note of the file is damaged: {err}.")
            return
        self.is_whole = True
        self.problems += [f"was left out of the export: {sentence}" for sentence in note.left_out]

    def _content(self, member: tarfile.TarInfo) -> bytes:
        file = self._tar.extractfile(member)
        if file is None or member.size > _MAX_STATE_BYTES:
            raise CorruptRecord(f"{member.name} is no file of a size that it could have.")
        return file.read()

    def _record(self, folder: str, state: tarfile.TarInfo) -> BlobRecord | None:
        """The record of a blob that a start would serve; None if it is none, or cannot be read."""
        try:
            blob = record.load(self._content(state))
        except (CorruptRecord, tarfile.TarError) as err:
            self.problems.append(f"folder {folder}: {err}")
            return None
        return blob if blob.state is State.COMPLETE and state.offset not in self._outdone else None

    def _stored(self, folder: str, state: tarfile.TarInfo, data: tarfile.TarInfo) -> Stored | None:
        blob = self._record(folder, state)
        if blob is None:
            return None
        if blob.is_original:
            blob = msgspec.structs.replace(blob, size=data.size)
        elif blob.size != data.size:
            self.problems.append(f"folder {folder}: data.raw has {data.size} bytes instead of {blob.size}")
            return None
        return Stored(blob, lambda: self._chunks(blob, data))

    def _chunks(self, blob: BlobRecord, data: tarfile.TarInfo) -> Iterator[bytes]:
        file = self._tar.extractfile(data)
        if file is None:
            raise Damaged("data.raw is no file")

        def read(count: int) -> bytes:
            self._tell(file.tell() + data.offset_data)
            try:
                return file.read(count)
            except tarfile.TarError as err:  # the file ends within it
                raise Damaged(f"data.raw cannot be read: {err}") from err

        return verified(read, blob)


def _outdone(path: str) -> set[int]:
    """The places of states in the file whose blob is superseded by another one, as at a start.

    Raises NotABackup if the file has a journal that was not replayed.
    """
    best: dict[bytes, tuple[tuple[int, int], int]] = {}
    outdone: set[int] = set()
    with contextlib.suppress(tarfile.TarError, OSError), Tar.open(path, "r:") as tar:  # `blobs` tells
        while (member := tar.next()) is not None:
            tar.forget()
            name = member.name.removeprefix("./")
            if not member.isreg() or (member.size > _MAX_STATE_BYTES and name not in journal.NAMES):
                continue
            file = tar.extractfile(member)
            assert file is not None  # of a regular file
            if name in journal.NAMES and not journal.is_clean(file.read(journal.HEADER_BYTES)):
                raise NotABackup(
                    "The file holds a journal that was not replayed: unpack it into an empty folder, and "
                    "start a server on that once. Nothing was imported."
                )
            if not name.endswith("/" + layout.STATE_NAME):
                continue
            with contextlib.suppress(CorruptRecord):  # told when it is its turn
                blob = record.load(file.read())
                if blob.state is State.COMPLETE:
                    at = hashlib.blake2b(blob.location.encode(), digest_size=16).digest()
                    one, rival = (rank(blob), member.offset), best.get(at)
                    best[at] = one if rival is None else max(one, rival)
                    if rival is not None:
                        outdone.add(min(one, rival)[1])
    return outdone
