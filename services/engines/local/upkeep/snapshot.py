"""A consistent snapshot of a data directory, taken quickly, while a server may write.

For every location that had an acknowledged blob at its beginning, the snapshot has one whole value that the
location had then or later. (A blob that is deleted meanwhile may be in it.) How:

- Data never changes once complete (design rule 4), and state files are only replaced. So a hard link keeps
  both as they are. The links are made in DIR/.export/, and the tar is written from them afterwards.
- While the links are made the gc removes nothing: it yields to the lock `.gc.hold`, and to the lock
  `.gc.wanted` of an export that waits for the first one. So a blob that is replaced or deleted meanwhile
  still has its folder and its data, and its state says when it ended.
- Folders that were missing or not complete at the first look are looked at again. An update completes the new
  blob before it marks the old one. So if the old one was found marked, the new one is found complete at the
  second look.
- If no server runs, the tool takes the state lock for that time, and reconciles first.

If the file system has no hard links, the gc is held until the tar is written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import time
from dataclasses import dataclass, field

import msgspec

from common import durable
from common.errors import DISK_ERRNOS, Busy, CorruptRecord, LockHeld
from common.progress import Progress
from common.states import MSG_COMPLETE, MSG_DELETED, State
from common.times import rfc3339
from services.engines.local.disk import blob_folder, directory, layout, locks, record
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord, rank
from services.engines.local.journal import format as journal
from services.engines.local.recovery.restart import recover

log = logging.getLogger(__name__)

_GC_WAIT_S = 60.0  # a pass of the gc that removes many folders takes a while
_LOCK_WAIT_S = 2.0  # the recovery worker reconciles for a moment; a server stays
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK})


class HeldBlob(msgspec.Struct, frozen=True, gc=False):
    """One blob of the snapshot."""

    id: int
    location: str
    seq: int
    size: int


@dataclass
class DirectorySnapshot:
    """See the module docstring. `left_out`: sentences about blobs that are damaged and so are not in it."""

    data_dir: Layout
    blobs: list[HeldBlob] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    linked: bool = True
    seconds: float = 0.0
    _home: str = ""
    _home_fd: int = -1
    _hold: locks.FileLock | None = None

    @property
    def bytes(self) -> int:
        """The bytes of data, all together."""
        return sum(held.size for held in self.blobs)

    def record_of(self, held: HeldBlob) -> BlobRecord:
        """Its record as it was while complete; without checksums of chunks if it is no longer live.

        Raises CorruptRecord, OSError.
        """
        found = record.load(blob_folder.read_state(self.state_path(held.id), self.data_path(held.id)))
        return found if found.state is State.COMPLETE else _before_failure(found)

    def state_path(self, blob_id: int) -> str:
        """The state file, or our link to it."""
        return f"{self._home}/{blob_id}.state" if self.linked else self.data_dir.state(blob_id)

    def data_path(self, blob_id: int) -> str:
        """The data, or our link to it."""
        return f"{self._home}/{blob_id}.data" if self.linked else self.data_dir.data(blob_id)

    def close(self) -> None:
        """Remove the links, or release the gc. Idempotent."""
        if self._home:
            durable.remove_tree(self._home, under=self.data_dir.root)
            os.close(self._home_fd)
            self._home = ""
        if self._hold is not None:
            self._hold.release()

    def __enter__(self) -> DirectorySnapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def take(data_dir: Layout, *, keeps_index: bool = False) -> DirectorySnapshot:
    """Take a snapshot. Raises Busy if a recovery or a long gc pass must end first, OSError.

    `keeps_index`: the server keeps an index, so it stays valid; else its next start would read every folder.
    """
    held = locks.StateLock(data_dir.root, "export")
    hold = locks.FileLock(data_dir.ours(layout.GC_HOLD_NAME), "export")
    wanted = locks.FileLock(data_dir.ours(layout.GC_WANTED_NAME), "export", says=False)
    try:
        with contextlib.suppress(LockHeld):
            held.acquire(_LOCK_WAIT_S)
            data_dir = directory.open_directory(data_dir.root, data_dir.id_bits, owner=True)
            with Progress("recovery", "folders") as progress:
                recover(data_dir, held, progress, keeps_index=keeps_index)
        if journal.needs_replay(data_dir):
            raise Busy("The server is recovering from a crash of the system: try again when it serves.")
        try:
            with wanted:
                wanted.acquire(_GC_WAIT_S)
                hold.acquire(_GC_WAIT_S)
        except LockHeld as err:
            raise Busy("The gc removes large blobs, or another export is beginning: try again.") from err
        snapshot = DirectorySnapshot(data_dir, _hold=hold)
        try:
            _Taking(snapshot).run()
        except BaseException:
            snapshot.close()
            raise
        if snapshot.linked:
            hold.release()
        return snapshot
    finally:
        held.release()


class _Taking:
    def __init__(self, snapshot: DirectorySnapshot) -> None:
        self.snapshot = snapshot
        self.data_dir = snapshot.data_dir
        self.live: dict[str, HeldBlob] = {}
        self.revived: dict[str, HeldBlob] = {}  # replaced or deleted since we began
        self.unfinished: list[int] = []

    def run(self) -> None:
        snapshot = self.snapshot
        began = time.monotonic()
        began_at = rfc3339(time.time_ns())
        snapshot._home, snapshot._home_fd = _make_home(self.data_dir)
        ids = directory.ids_in(self.data_dir)
        self._look_at_all(ids, began_at)
        # A change takes its time before its folder exists. So a change under way at our beginning may mark
        # the old blob with an earlier time, and make the new one's folder after we listed the folders.
        since = set(directory.ids_in(self.data_dir)).difference(ids)
        again, self.unfinished = self.unfinished, []
        self._look_at_all([*again, *sorted(since)], began_at)
        for location, held in self.revived.items():
            if location in self.live:
                self._drop(held.id)
            else:
                self.live[location] = held
        snapshot.blobs = sorted(self.live.values(), key=lambda held: held.id)
        snapshot.seconds = time.monotonic() - began

    def _look_at_all(self, ids: list[int], began_at: str) -> None:
        with Progress("snapshot", "folders") as progress:
            for done, blob_id in enumerate(ids):
                progress(done, len(ids))
                try:
                    self._look_at(blob_id, began_at)
                except FileNotFoundError:  # no blob yet, or quarantined under our eyes
                    self.unfinished.append(blob_id)
                    self._drop(blob_id)
                except (CorruptRecord, OSError) as err:
                    if isinstance(err, OSError) and err.errno not in DISK_ERRNOS:
                        raise
                    self.snapshot.left_out.append(f"blob {blob_id}: {err}")
                    self._drop(blob_id)

    def _look_at(self, blob_id: int, began_at: str) -> None:
        self._link(self.data_dir.state(blob_id), f"{blob_id}.state")
        content = blob_folder.read_state(self.snapshot.state_path(blob_id), self.data_dir.data(blob_id))
        blob = record.load(content)
        if blob.state is State.COMPLETE:
            kept = self.live
        elif _was_live_at(blob, began_at):
            kept = self.revived
        else:
            if blob.state is not State.FAILURE:
                self.unfinished.append(blob_id)
            self._drop(blob_id)
            return
        rival = kept.get(blob.location)
        if rival is not None and rank(rival) > rank(blob):
            self._drop(blob_id)
            return
        try:
            self._link(self.data_dir.data(blob_id), f"{blob_id}.data")
            length = os.lstat(self.snapshot.data_path(blob_id)).st_size
        except FileNotFoundError:
            self.snapshot.left_out.append(f"blob {blob_id} of {blob.location!r}: data.raw is missing")
            self._drop(blob_id)
            return
        kept[blob.location] = HeldBlob(blob_id, blob.location, blob.seq, length)
        if rival is not None:
            self._drop(rival.id)

    def _link(self, path: str, name: str) -> None:
        if not self.snapshot.linked:
            return
        try:
            durable.link(path, f"{self.snapshot._home}/{name}")
        except OSError as err:
            if err.errno not in _NO_LINKS:
                raise
            log.info("no hard links on this file system: the gc waits until the export is written")
            self.snapshot.linked = False

    def _drop(self, blob_id: int) -> None:
        for name in (f"{blob_id}.state", f"{blob_id}.data"):
            with contextlib.suppress(FileNotFoundError):
                durable.remove_file(f"{self.snapshot._home}/{name}")


def _make_home(data_dir: Layout) -> tuple[str, int]:
    """(a folder of our own for the links, its descriptor); what a killed export left is removed.

    It is locked while this process lives, so that the next export knows that it is in use.
    """
    exports = data_dir.ours(layout.EXPORTS_NAME)
    with contextlib.suppress(FileExistsError):
        durable.make_folder(exports)
    if not blob_folder.is_folder(exports):
        raise NotADirectoryError(errno.ENOTDIR, "it is no folder", exports)
    for name in os.listdir(exports):
        if not blob_folder.is_folder(f"{exports}/{name}"):
            log.warning("%s/%s is not ours: left alone", layout.EXPORTS_NAME, name)
            continue
        fd = durable.open_folder(f"{exports}/{name}")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            durable.remove_tree(f"{exports}/{name}", under=data_dir.root)
        except BlockingIOError:
            log.info("another export is writing its tar")
        finally:
            os.close(fd)
    home = f"{exports}/{os.getpid()}-{time.time_ns()}"
    durable.make_folder(home)
    fd = durable.open_folder(home)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return home, fd


def _was_live_at(blob: BlobRecord, began_at: str) -> bool:
    """True if it was replaced or deleted since; False if it was never acknowledged."""
    if blob.state is not State.FAILURE or len(blob.events) < 2:
        return False
    newest, before = blob.events[-1], blob.events[-2]
    ended = newest.message.startswith(MSG_DELETED)  # or replaced: states.replaced_by
    return newest.at >= began_at and ended and before.message == MSG_COMPLETE


def _before_failure(blob: BlobRecord) -> BlobRecord:
    """The record as it was while the blob was live, without the checksums of its chunks."""
    return msgspec.structs.replace(blob, state=State.COMPLETE, events=blob.events[:-1], crcs=b"")
