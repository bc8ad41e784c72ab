"""Writes a snapshot as a backup (`backup` has the format).

Every blob is read and compared with its checksums before it is written; a damaged one is left out and named.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from common import checksum, durable
from common.checksum import Bytes, Hasher
from common.errors import DAMAGE_ERRNOS, CorruptRecord, Damaged, StorageFailed
from common.ours import open_ours, read_ours
from common.progress import Progress
from common.states import CODE_OF_WORD, MSG_CREATED
from common.times import rfc3339
from services.engines.local.disk import directory, layout, record
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord
from services.engines.local.upkeep.backup import Exported, Tar, verified
from services.engines.local.upkeep.snapshot import DirectorySnapshot, HeldBlob
from services.store import Blob, Event

_PIECE_BYTES = 1 << 20
_LAST_NAME = "last-export.json"
_MAX_LAST_BYTES = 4 << 20


def write(taken: DirectorySnapshot, fd: int) -> Exported:
    """Write the whole tar to an open descriptor; not synced. Raises OSError.

    Raises StorageFailed where a blob rots between its two reads: then there is no export.
    """
    at = rfc3339(time.time_ns())
    total = taken.bytes
    blobs = written_bytes = 0
    left_out = list(taken.left_out)
    stream: Any = _Descriptor(fd)
    with (
        Tar.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
        Progress("export", "bytes") as progress,
    ):
        _add(tar, layout.FORMAT_NAME, directory.format_file(taken.data_dir.id_bits), time.time())
        for held in taken.blobs:

            def tell(of_it: int, before: int = written_bytes) -> None:
                progress(before + of_it, total)

            tell(0)
            try:
                _add_blob(tar, taken, held, tell)
            except (CorruptRecord, Damaged) as err:
                left_out.append(f"blob {held.id} of {held.location!r}: {err}")
                continue
            blobs += 1
            written_bytes += held.size
            tar.forget()
        done = Exported(blobs, written_bytes, at, left_out)
        _add(tar, layout.EXPORTED_NAME, msgspec.json.encode(done), time.time())
    stream.flush()
    return done


class BackupStream:
    """A backup of blobs that are in no directory, written one by one to an open descriptor; not synced.

    For each blob `begin`, then `data` until its size is reached. `close` ends the file; without it the backup
    counts as cut short. All raise OSError.
    """

    def __init__(self, fd: int, id_bits: int) -> None:
        stream: Any = _Descriptor(fd)
        self._stream = stream
        self._tar = Tar.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT)
        self._layout = Layout("", id_bits)
        self._left_bytes = 0
        self.blobs = self.bytes = 0
        _add(self._tar, layout.FORMAT_NAME, directory.format_file(id_bits), time.time())

    def begin(self, blob: Blob, history: Sequence[Event], sha256: bytes, crcs: bytes) -> None:
        """The state of a complete blob, with the next id. `history`: oldest first.

        Raises StorageFailed where no id is left: a folder with a longer number would be nobody's blob.
        """
        assert not self._left_bytes
        number, modified = self.blobs, blob.modified_ns / 1e9
        if number >> self._layout.id_bits:
            raise StorageFailed(f"More than {number:,} blobs came during the export: export again.")
        whole = record.whole(
            *(number, blob.location, number + 1, MSG_CREATED, blob.modified_ns, blob.type, blob.encoding),
            *(blob.size, sha256, crcs, blob.metadata),
        )
        steps = [record.Transition(CODE_OF_WORD[e.state], e.message, e.time) for e in history]
        folder = self._layout.folder(number).removeprefix("/")
        _add(
            self._tar,
            f"{folder}/{layout.STATE_NAME}",
            record.dump(whole.moved(blob.modified_ns, steps)),
            modified,
        )
        header = _member(f"{folder}/{layout.DATA_NAME}", blob.size, modified)
        self._stream.write(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict"))
        self._tar.forget()
        self._left_bytes = blob.size
        self.blobs += 1
        self.bytes += blob.size
        self._end_member()

    def data(self, piece: Bytes) -> None:
        """The next bytes of the blob."""
        self._stream.write(piece)
        self._left_bytes -= len(piece)
        self._end_member()

    def _end_member(self) -> None:
        assert self._left_bytes >= 0
        if not self._left_bytes:
            self._stream.write(bytes(-self._stream.tell() % tarfile.BLOCKSIZE))
            self._tar.offset = self._stream.tell()

    def close(self, at: str, left_out: list[str]) -> Exported:
        """The closing note. `at`: RFC 3339; `left_out`: a sentence for each damaged blob."""
        assert not self._left_bytes
        done = Exported(self.blobs, self.bytes, at, left_out)
        _add(self._tar, layout.EXPORTED_NAME, msgspec.json.encode(done), time.time())
        self._tar.close()
        self._stream.flush()
        return done


def last(data_dir: Layout) -> Exported | None:
    """What the last export of this directory had; None if none is known."""
    try:
        content = read_ours(f"{data_dir.reports_dir}/{_LAST_NAME}", _MAX_LAST_BYTES)
        return msgspec.json.decode(content, type=Exported)
    except (OSError, msgspec.DecodeError, UnicodeError):
        return None


def remember(data_dir: Layout, done: Exported) -> None:
    """Keep for `last` what was exported. A hint: not synced, and a disk without room for it is no error."""
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileExistsError):
            durable.make_folder(data_dir.reports_dir)
        durable.replace(f"{data_dir.reports_dir}/{_LAST_NAME}", msgspec.json.encode(done), synced=False)


@contextlib.contextmanager
def opened(taken: DirectorySnapshot, held: HeldBlob) -> Iterator[tuple[BlobRecord, Iterator[bytes]]]:
    """A blob's record, with its checksums, and its bytes, verified. Raises Damaged, CorruptRecord."""
    with _opened(taken, held) as (blob, fd):
        yield blob, _chunks(fd, blob)


@contextlib.contextmanager
def _opened(taken: DirectorySnapshot, held: HeldBlob) -> Iterator[tuple[BlobRecord, int]]:
    """Its record and its data.raw. Raises as `opened`."""
    blob = taken.record_of(held)
    try:
        fd = open_ours(taken.data_path(held.id))
    except FileNotFoundError as err:
        raise Damaged("data.raw is missing") from err
    try:
        size_bytes = os.fstat(fd).st_size
        if not blob.is_original and size_bytes != blob.size:
            raise Damaged(f"data.raw has {size_bytes} bytes instead of {blob.size}")
        yield _with_sums(blob, fd), fd
    finally:
        os.close(fd)


def _add_blob(tar: Tar, taken: DirectorySnapshot, held: HeldBlob, tell: Callable[[int], None]) -> None:
    """Raises Damaged and CorruptRecord, with nothing written; StorageFailed if it rots between two reads."""
    with _opened(taken, held) as (blob, fd):
        whole = b""
        if blob.size <= _PIECE_BYTES:
            whole = b"".join(_chunks(fd, blob))
        else:  # too large to keep: read it twice, since a tar cannot take back what it has
            for _ in _chunks(fd, blob):
                tell(0)
        folder = os.path.relpath(taken.data_dir.folder(blob.id), taken.data_dir.root)
        modified = blob.modified_ns / 1e9
        _add(tar, f"{folder}/{layout.STATE_NAME}", record.dump(blob), modified)
        data: Any = io.BytesIO(whole) if blob.size <= _PIECE_BYTES else _ChunkStream(_chunks(fd, blob), tell)
        tar.addfile(_member(f"{folder}/{layout.DATA_NAME}", blob.size, modified), data)


def _with_sums(blob: BlobRecord, fd: int) -> BlobRecord:
    """With the checksums of its chunks, if it has none: compared with the SHA-256, if it has that."""
    if blob.crcs or (blob.sha256 and not blob.size):
        return blob
    sums = Hasher()
    at = 0
    while data := os.pread(fd, checksum.CHUNK_BYTES, at):
        sums.update(data)
        at += len(data)
    if blob.sha256 and sums.sha256() != blob.sha256:
        raise Damaged("data.raw fails its SHA-256")
    return msgspec.structs.replace(blob, size=sums.size, sha256=sums.sha256(), crcs=sums.crcs())


def _chunks(fd: int, blob: BlobRecord) -> Iterator[bytes]:
    at = 0

    def read(count: int) -> bytes:
        nonlocal at
        try:
            data = os.pread(fd, count, at)
        except OSError as err:
            if err.errno not in DAMAGE_ERRNOS:
                raise
            raise Damaged(f"data.raw cannot be read: {err.strerror}") from err
        at += len(data)
        return data

    return verified(read, blob)


def _add(tar: Tar, name: str, content: bytes, modified: float) -> None:
    tar.addfile(_member(name, len(content), modified), io.BytesIO(content))


def _member(name: str, size_bytes: int, modified: float) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    member.mtime = int(modified)  # a fraction would cost a header of 1 KiB; the state has it
    member.mode = 0o600
    member.uid, member.gid = os.getuid(), os.getgid()
    return member


class _Descriptor:
    """An open descriptor as the stream that a tar is written to, in large pieces; `flush` ends it.

    (tarfile's own stream also writes when it is given up, and may then block on a pipe for ever.)
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = 0
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        """Write all of it, now or with a later piece."""
        self._waiting += data
        self._at += len(data)
        if len(self._waiting) >= _PIECE_BYTES:
            self.flush()
        return len(data)

    def tell(self) -> int:
        """How many bytes there are so far."""
        return self._at

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, bytearray()
        durable.write_all(self._fd, waiting)


class _ChunkStream:
    """Chunks as a stream that a tar reads from. Each was compared with its checksum already, once."""

    def __init__(self, chunks: Iterator[bytes], tell: Callable[[int], None]) -> None:
        self._chunks = chunks
        self._tell = tell  # called with how many bytes were read so far
        self._read = 0
        self._left = b""

    def read(self, count: int) -> bytes:
        """Up to `count` bytes."""
        if not self._left:
            try:
                self._left = next(self._chunks, b"")
            except Damaged as err:
                raise StorageFailed(
                    f"{err}, though it was whole a moment ago: the disk is failing. No export."
                ) from err
        data, self._left = self._left[:count], self._left[count:]
        self._read += len(data)
        self._tell(self._read)
        return data
