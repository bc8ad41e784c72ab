"""The only interface between the commands and the engine: other modules of the tools know no layout.

A directory is read from outside, whether its server runs or not. Nothing is made here, no directory and no
file, except what a command was asked to write.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

from common.config import Config, keeps_index
from common.errors import BlobkeepError, LockHeld
from common.progress import Progress, nothing
from common.states import WORD_OF_CODE, State
from services.engine import Admin
from services.engines.local.disk import blob_folder, directory, layout, record
from services.engines.local.disk import quarantine as kept_damage
from services.engines.local.disk.blob import served
from services.engines.local.journal import format as journal
from services.engines.local.serving.expiry import Expiry
from services.engines.local.upkeep import backup_writer, quarantine, snapshot, survey, usage
from services.engines.local.upkeep import widen as widening
from services.engines.local.upkeep.backup import Exported, NotABackup, closing_note
from services.engines.local.upkeep.backup_reader import Backup, Stored
from services.engines.local.upkeep.backup_writer import BackupStream
from services.engines.local.upkeep.check import Report, check
from services.engines.local.upkeep.snapshot import DirectorySnapshot, HeldBlob
from services.engines.local.upkeep.usage import RoomTaken
from services.store import Event, Store
from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.owner import must_be_owner

__all__ = [
    "BENCH_NAME",
    "Backup",
    "BackupStream",
    "DirectorySnapshot",
    "Exported",
    "HeldBlob",
    "NotABackup",
    "Quarantined",
    "Record",
    "Report",
    "RoomTaken",
    "Storage",
    "Stored",
    "UnreadableFolder",
    "check_engine",
    "closing_note",
    "history_of",
    "open_backup",
    "open_engine",
    "open_store",
    "state_word",
    "widen",
]

Record = record.BlobRecord
UnreadableFolder = survey.UnreadableFolder
Quarantined = survey.Quarantined

# The recovery worker has the lock for a moment while it reconciles; a server keeps it.
_LOCK_WAIT_S = 2.0
BENCH_NAME = layout.BENCH_NAME


def state_word(blob: Record) -> str:
    """The blob's state as disk and wire call it."""
    return WORD_OF_CODE[blob.events[-1].code]


def history_of(blob: Record) -> list[Event]:
    """What happened to it, oldest first."""
    return [Event(event.at, WORD_OF_CODE[event.code], event.message) for event in blob.events]


def widen(config: Config, progress: Callable[[int, int], None]) -> int:
    """Give the directory of `config` ids of 32 bits; how many blobs moved. Raises ConfigError, LockHeld."""
    must_be_owner(config.dir)
    return widening.widen(config.dir, _LOCK_WAIT_S, progress)


class Storage:
    """The directory that the configuration names. Raises ConfigError where it is none."""

    def __init__(self, config: Config) -> None:
        self._data_dir = directory.existing(config.dir)
        self._keeps_index = keeps_index(config)
        self._expiry = Expiry(config.expire_s)
        self.place = self._data_dir.root

    def must_be_owner(self) -> None:
        """Raises CommandFailed if the server could not use what we write here."""
        must_be_owner(self.place)

    # --- looking ---

    def records(self, progress: Callable[[int, int], None] = nothing) -> Iterator[Record | UnreadableFolder]:
        """The records of all blobs, in any state. A blob that vanishes meanwhile is skipped."""
        return survey.records(self._data_dir, progress)

    @staticmethod
    def live_among(found: list[Record]) -> dict[str, Record]:
        """By location: which of these are served."""
        return survey.live_among(found)

    def by_id(self, text: str) -> Record | None:
        """The blob with that id. Raises CorruptRecord."""
        if not text.isdecimal() or int(text) >= 1 << self._data_dir.id_bits:
            return None
        try:
            return blob_folder.read_record(self._data_dir, int(text))
        except FileNotFoundError:
            return None

    def folder(self, blob: Record) -> str:
        """The path of its folder, for people."""
        return self._data_dir.folder(blob.id)

    def expires_ns(self, blob: Record) -> int | None:
        """When it expires, by its own time or the option `expire`: Unix time in nanoseconds; None: never."""
        at_s = self._expiry.at_s(served(blob)) if blob.state is State.COMPLETE else None
        return None if at_s is None else int(at_s * 1e9)

    def ids_left(self, used: int) -> int:
        """How many more blobs fit, besides `used` of them."""
        return (1 << self._data_dir.id_bits) - used

    def room_of(self, blob: Record | UnreadableFolder) -> tuple[int, int]:
        """(length of its files, bytes on disk)."""
        return usage.of_blob(self._data_dir, blob.id)

    def room_of_ours(self) -> dict[str, tuple[int, int]]:
        """By what it is: (length, bytes on disk) of what stands beside the blobs."""
        return usage.of_ours(self._data_dir)

    # --- damage ---

    def needs_replay(self) -> bool:
        """True where the system crashed, and no server has recovered what it left."""
        return journal.needs_replay(self._data_dir)

    def check(self, *, dry_run: bool) -> Report:
        """Re-read everything; reconcile it, too, where no server runs. `dry_run`: change nothing."""
        return check(self._data_dir, dry_run=dry_run, keeps_index=self._keeps_index)

    def quarantined(self) -> list[Quarantined]:
        """What is in quarantine, by name."""
        return survey.quarantined(self._data_dir)

    location_of = staticmethod(quarantine.location_of)
    bad_chunks = staticmethod(quarantine.bad_chunks)
    damage = staticmethod(quarantine.damage)
    chunks = staticmethod(quarantine.chunks)

    def drop(self, entry: Quarantined) -> int:
        """Remove it for good; returns the bytes freed."""
        return kept_damage.drop(self._data_dir, entry.name)

    # --- backup ---

    def snapshot(self) -> DirectorySnapshot:
        """Take a consistent snapshot now. Raises Busy, OSError."""
        return snapshot.take(self._data_dir, keeps_index=self._keeps_index)

    @staticmethod
    def write_backup(taken: DirectorySnapshot, fd: int) -> Exported:
        """The snapshot as a tar file, into an open descriptor; not synced."""
        return backup_writer.write(taken, fd)

    @staticmethod
    def opened(
        taken: DirectorySnapshot, held: HeldBlob
    ) -> AbstractContextManager[tuple[Record, Iterator[bytes]]]:
        """A blob of the snapshot: its record, and its bytes, compared. Raises Damaged, CorruptRecord."""
        return backup_writer.opened(taken, held)

    def last_export(self) -> Exported | None:
        """What the last export of this directory held, as far as that is known."""
        return backup_writer.last(self._data_dir)

    def remember_export(self, done: Exported) -> None:
        """Keep it for `last_export`."""
        backup_writer.remember(self._data_dir, done)


def open_backup(path: str) -> Backup:
    """The backup in a file. Raises CommandFailed, NotABackup."""
    try:
        return Backup(path)
    except FileNotFoundError as err:
        raise CommandFailed(exits.NOT_THERE, f"There is no file {path}.") from err
    except OSError as err:
        raise CommandFailed(exits.USAGE, f"{path} cannot be read: {err.strerror}.") from err


def check_engine(config: Config, *, dry_run: bool) -> int:
    """The check of an engine that is no directory: writes what it found, returns the exit status."""
    from services.engines.choose import choose

    return choose(config).check(dry_run=dry_run)


@contextlib.asynccontextmanager
async def open_store(
    config: Config, on_fatal: Callable[[BlobkeepError], None], *, create: bool
) -> AsyncIterator[Store | None]:
    """The store itself, recovered, with the lock held; None if a server has it.

    At the end all that was written is durable in the folders. `create`: make the directory if there is none.
    Raises ConfigError; CommandFailed if another user owns the directory.
    """
    async with open_engine(config, on_fatal, create=create) as opened:
        yield opened[0] if opened is not None else None


@contextlib.asynccontextmanager
async def open_engine(
    config: Config, on_fatal: Callable[[BlobkeepError], None], *, create: bool
) -> AsyncIterator[tuple[Store, Admin] | None]:
    """As `open_store`, for any engine, together with its Admin.

    An object store is not locked: others may serve it meanwhile.
    """
    from services.engines.choose import choose  # with all that serving takes: 0.2 s

    async with contextlib.AsyncExitStack() as stack:
        if config.engine == "local":
            must_be_owner(config.dir)
            if not create or directory.is_blobkeep(config.dir):
                config = replace(config, id_bits=directory.existing(config.dir).id_bits)
        else:
            config = replace(config, dir="")  # nothing is left on this machine
        engine = choose(replace(config, lock_wait_s=_LOCK_WAIT_S))
        log = logging.getLogger("server")
        level = log.level
        log.setLevel(logging.WARNING)  # what it found at its start is not what was asked for
        stack.callback(log.setLevel, level)
        stack.push_async_callback(engine.close)
        opened: tuple[Store, Admin] | None = None
        with contextlib.suppress(LockHeld), Progress("recovery", "folders") as progress:
            await engine.own()
            opened = await engine.open(progress, on_fatal), engine.admin()
        yield opened
