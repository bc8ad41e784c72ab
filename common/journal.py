"""The journal: what is acknowledged but not yet durable in the blobs' own folders. A cache, never a home.

A commit writes files without syncing them and appends one record a change here; one fdatasync then makes a
whole batch durable. Two files take turns: while one is appended to, what the other covers is synced in
place (a checkpoint), after which that one is clean. A journal that is lost therefore costs at most what was
committed since the last checkpoint, and only if the power or the system failed as well.

Each file, pre-zeroed so that appending changes no metadata (93 µs a fdatasync instead of 175 to 7,955):

    header   48 bytes   magic "BKJ1", crc32c of the rest, epoch u64, clean u8, boot id (16 bytes), zeros
    ...      zeros up to 4,096
    records             magic "BKJr", crc32c of the rest of the head and of the payload, epoch u64,
                        batch u64, index in the batch u32, payload length u32; then the payload;
                        all little endian, 8-aligned

A payload is a msgpack list of Entry: the states that the change wrote, and small bodies. What is not a whole
record is a gap. Batches are synced in turn: a gap in the last batch is its torn end, which nobody was told
of; a gap before whole records of a later batch is rot.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from common import durable, layout
from common.checksum import crc
from common.errors import SyncFailed
from common.layout import Layout

NAMES = (layout.JOURNAL_NAME + ".0", layout.JOURNAL_NAME + ".1")
_MAX_BYTES = 32 << 20  # of each file: some 16,000 small creates
_MIN_BYTES = 1 << 20
_DISK_SHARE = 64  # at most this part of the file system for each file
_DATA_START = 4096
_HEADER_MAGIC = b"BKJ1"
_RECORD_MAGIC = b"BKJr"
_HEADER = struct.Struct("<QB16s")  # epoch, clean, boot id
_HEAD = struct.Struct("<QQII")  # epoch, batch, index, payload length
_PREFIX = 8  # magic and crc, before either
_ALIGN = 8
_WINDOW_BYTES = 1 << 20  # a file is read, and zeroed, in parts of this size: it is never whole in memory


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One state that a change wrote. `state`: the state file's whole content; `body`: data.raw's, if small.

    `body` is None where data.raw was synced in place before the record was written, or does not matter.
    """

    id: int
    seq: int
    alive: bool  # complete; else Failure
    state: bytes
    body: bytes | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Entry]).decode


def encode(entries: list[Entry]) -> bytes:
    """The payload of one change."""
    return _encode(entries)


@dataclass
class Scan:
    """What one journal file holds."""

    path: str
    epoch: int = 0
    clean: bool = True
    boot_id: bytes = b""
    changes: list[list[Entry]] = field(default_factory=list)  # in order; empty where clean
    end: int = _DATA_START  # where the next record goes
    last_batch: int = 0
    rotten: int = 0  # gaps that cannot be torn tails

    @property
    def ids(self) -> set[int]:
        """Which blobs it covers."""
        return {entry.id for change in self.changes for entry in change}


def boot_id() -> bytes:
    """16 bytes, new whenever the operating system starts: tells a process crash from a system crash."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return bytes.fromhex(file.read().strip().replace("-", ""))


def scan_all(where: Layout) -> list[Scan]:
    """Both files, the older epoch first; only those that are there."""
    scans = [scan(where.ours(name)) for name in NAMES if os.path.exists(where.ours(name))]
    return sorted(scans, key=lambda found: found.epoch)


def needs_replay(where: Layout) -> bool:
    """True after a system crash until the lock holder has replayed: nobody may judge a blob before."""
    now = boot_id()
    for name in NAMES:
        try:
            with open(where.ours(name), "rb") as file:
                header = _parse_header(file.read(_PREFIX + _HEADER.size))
        except FileNotFoundError:
            continue
        if header is not None and not header[1] and header[2] != now:
            return True
    return False


def scan(path: str) -> Scan:
    """Read a journal file. Anything may stand in it: what is no whole record of its epoch is passed over."""
    found = Scan(path)
    with open(path, "rb", buffering=0) as file:
        content = _Window(file.fileno())
        header = _parse_header(content.get(0, _PREFIX + _HEADER.size))
        if header is None:
            return found  # never used, or its first batch was torn: nothing was acknowledged by it
        found.epoch, found.clean, found.boot_id = header
        if not found.clean:
            _scan_records(content, found)
    return found


def _scan_records(content: _Window, found: Scan) -> None:
    at = _DATA_START
    torn_batch = 0  # a gap stands before a later part of this batch
    while at >= 0:
        record = _parse_record(content, at, found.epoch)
        if record is None:
            at = content.find_magic(at + 1)
            continue
        batch, index, payload, end = record
        if batch < found.last_batch:
            break  # of an earlier life of this file
        if at != found.end and index == 0:
            found.rotten += 1  # the gap is in a batch before this one
        elif at != found.end:
            torn_batch = batch
        if torn_batch and batch > torn_batch:
            found.rotten += 1  # that batch was not the last
            torn_batch = 0
        found.changes.append(payload)
        found.last_batch, found.end, at = batch, end, end


def _parse_header(content: bytes) -> tuple[int, bool, bytes] | None:
    body = content[_PREFIX : _PREFIX + _HEADER.size]
    if len(body) < _HEADER.size or content[:_PREFIX] != _HEADER_MAGIC + struct.pack("<I", crc(body)):
        return None
    epoch, clean, boot = _HEADER.unpack(body)
    return epoch, bool(clean), boot


def _parse_record(content: _Window, at: int, epoch: int) -> tuple[int, int, list[Entry], int] | None:
    start = at + _PREFIX + _HEAD.size
    head = content.get(at, _PREFIX + _HEAD.size)
    if head[:4] != _RECORD_MAGIC or start > content.size:
        return None
    found_epoch, batch, index, length = _HEAD.unpack_from(head, _PREFIX)
    end = start + length
    if found_epoch != epoch or end > content.size:
        return None
    payload = content.get(start, length)
    if struct.unpack_from("<I", head, 4)[0] != crc(payload, crc(head[_PREFIX:])):
        return None
    try:
        return batch, index, _decode(payload), end + -end % _ALIGN
    except msgspec.DecodeError:
        return None


class _Window:
    """An open journal file, of which only a part is in memory."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = os.fstat(fd).st_size
        self._start = 0
        self._bytes = b""

    def get(self, at: int, length: int) -> bytes:
        """The bytes at..at+length; fewer at the end of the file."""
        offset = at - self._start
        if offset < 0 or offset + length > len(self._bytes):
            self._start, offset = at, 0
            self._bytes = os.pread(self._fd, max(length, _WINDOW_BYTES), at)
        return self._bytes[offset : offset + length]

    def find_magic(self, at: int) -> int:
        """Where the next record may begin, from `at` on; -1 where nowhere."""
        while at < self.size:
            found = self.get(at, _WINDOW_BYTES).find(_RECORD_MAGIC)
            if found >= 0:
                return at + found
            at += _WINDOW_BYTES - len(_RECORD_MAGIC) + 1
        return -1


class JournalFile:
    """One of the two files, open for appending. Not thread-safe: the committer's."""

    def __init__(self, path: str, size_bytes: int) -> None:
        self.path = path
        self._make(size_bytes)
        self._fd = durable.open_in_place(path)
        self._size = os.fstat(self._fd).st_size
        found = scan(path)
        self.epoch = found.epoch
        self.begun = not found.clean  # its header says that records follow
        self.covered = found.ids  # ids whose folders are not known to be durable
        self._batch = found.last_batch
        self._end = found.end
        if not found.clean:
            # What stands behind the last whole record must not be taken for records that follow new ones.
            for at in range(self._end, self._size, _WINDOW_BYTES):
                durable.write_at(self._fd, bytes(min(_WINDOW_BYTES, self._size - at)), at)

    def _make(self, size_bytes: int) -> None:
        if os.path.exists(self.path):
            return
        temp = self.path + ".tmp"
        durable.write_file(temp, bytes(size_bytes), synced=True)
        durable.rename(temp, self.path)
        durable.sync_folder(os.path.dirname(self.path))

    @property
    def capacity(self) -> int:
        """How many bytes of records it takes when empty."""
        return self._size - _DATA_START

    def room(self) -> int:
        """How many bytes of records it takes yet."""
        return self._size - self._end

    def begin(self, epoch: int) -> None:
        """Start over, empty, as the newer of the two. Durable with the first batch."""
        self.epoch, self._batch, self._end = epoch, 0, _DATA_START
        self.begun = True
        self._write_header(clean=False)

    def append(self, payloads: list[bytes], ids: set[int]) -> None:
        """Make one batch durable. Raises SyncFailed, and OSError if it could not be written.

        Then the batch is overwritten, so that a restart of the process does not find what was answered with
        an error; whether the disk has it is unknown.
        """
        self._batch += 1
        parts = []
        for index, payload in enumerate(payloads):
            rest = _HEAD.pack(self.epoch, self._batch, index, len(payload)) + payload
            parts.append(_RECORD_MAGIC + struct.pack("<I", crc(rest)) + rest + bytes(-len(rest) % _ALIGN))
        batch = b"".join(parts)
        try:
            durable.write_at(self._fd, batch, self._end)
            durable.sync_file(self._fd)
        except (OSError, SyncFailed):
            with contextlib.suppress(OSError):  # the first error is the one to tell
                durable.write_at(self._fd, bytes(len(batch)), self._end)
            raise
        self._end += len(batch)
        self.covered |= ids

    def mark_clean(self) -> None:
        """Say, durably, that all it covered is synced in place."""
        self._write_header(clean=True)
        durable.sync_file(self._fd)
        self.covered = set()
        self.begun = False

    def _write_header(self, *, clean: bool) -> None:
        body = _HEADER.pack(self.epoch, clean, boot_id())
        durable.write_at(self._fd, _HEADER_MAGIC + struct.pack("<I", crc(body)) + body, 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def record_bytes(payload: bytes) -> int:
    """How much room a payload takes."""
    length = _PREFIX + _HEAD.size + len(payload)
    return length + -length % _ALIGN


def size_for(where: Layout) -> int:
    """How large each file is to be: small on a small disk."""
    disk = os.statvfs(where.root)
    total = disk.f_blocks * disk.f_frsize
    return max(_MIN_BYTES, min(_MAX_BYTES, total // _DISK_SHARE >> 20 << 20))


def entries_of(scans: list[Scan]) -> Iterator[Entry]:
    """Every entry of the files, oldest first."""
    for found in scans:
        for change in found.changes:
            yield from change
