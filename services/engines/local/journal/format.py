"""The journal: what is acknowledged but not yet durable in the blobs' own folders. Its format, how a file is
read whatever it contains, and the marks that a replay leaves in it.

A commit writes files without syncing them, and appends one record for each change here. One fdatasync then
makes a whole batch durable. Two files take turns: while one is appended to, what the other covers is synced
in the folders (a checkpoint), and then that file is clean. If a journal is lost, at most the commits since
the last checkpoint are lost, and only if the power or the system failed as well.

Each file, pre-zeroed so that appending changes no metadata (93 µs a fdatasync instead of 175 to 7,955):

    header   37 bytes   magic "BKJ2", crc32c of the rest, epoch u64, clean u8, boot id (16 bytes), salt u32
    ...      zeros up to 4,096
    records             magic "BKJr", crc32c (begun with the salt) of the rest of the head and of the payload,
                        epoch u64, batch u64, index in the batch u32, payload length u32; then the payload;
                        all little endian, 8-aligned

The salt is new with each epoch. So bytes of an earlier epoch, or bytes that a client put into a body, are not
taken for a record. A payload is a msgpack list of JournalEntry: the states that the change wrote, and small
bodies. What is not a whole record is a gap. Batches are synced one after the other. So a gap in the last
batch is its torn end, which was never acknowledged; a gap before a later, complete batch is corruption.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from common import durable
from common.checksum import crc
from common.errors import DISK_ERRNOS, FOREIGN_ERRNOS, StorageFailed
from common.ours import open_ours
from services.engines.local.disk import layout
from services.engines.local.disk.layout import Layout

log = logging.getLogger(__name__)

NAMES = (layout.JOURNAL_NAME + ".0", layout.JOURNAL_NAME + ".1")
DATA_START = 4096
_HEADER_MAGIC = b"BKJ2"
_RECORD_MAGIC = b"BKJr"
_HEADER = struct.Struct("<QB16sI")  # epoch, clean, boot id, salt
_HEAD = struct.Struct("<QQII")  # epoch, batch, index, payload length
_PREFIX = 8  # magic and crc, before either
HEADER_BYTES = _PREFIX + _HEADER.size
_ALIGN = 8
DISK_WAITS_S = (0.1, 0.5)  # before each further try after an error of the disk, which may pass
WINDOW_BYTES = 1 << 20  # a file is read, and zeroed, in parts of this size: it is never whole in memory


class JournalEntry(msgspec.Struct, frozen=True, array_like=True):
    """One state that a change wrote. `state`: the state file's whole content; `body`: data.raw's, if small.

    `body` is None where data.raw was synced in place before the record was written, or does not matter.
    """

    id: int
    seq: int
    alive: bool  # complete; else Failure
    state: bytes
    body: bytes | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[JournalEntry]).decode


class Batch(msgspec.Struct, frozen=True):
    """What one sync makes durable. `payloads`: one for each change; `room_bytes`: size of their records."""

    payloads: list[bytes]
    room_bytes: int


def encode(changes: Iterable[list[JournalEntry]]) -> Batch:
    """The batch of these changes; each change is the list of states that it wrote."""
    payloads = [_encode(change) for change in changes]
    return Batch(payloads, sum(map(record_bytes, payloads)))


@dataclass
class Scan:
    """The content of one journal file."""

    path: str
    epoch: int = 0
    clean: bool = True
    boot_id: bytes = b""
    salt: int = 0
    changes: list[list[JournalEntry]] = field(default_factory=list)  # in order; empty where clean
    last_start: int = DATA_START  # where the last batch begins
    end: int = DATA_START  # where the next record goes
    last_batch: int = 0
    rotten: int = 0  # gaps that cannot be torn tails
    has_lost_header: bool = False  # it was used, and its records cannot be told from those of earlier epochs


@functools.cache
def boot_id() -> bytes:
    """16 bytes, new whenever the operating system starts: tells a process crash from a system crash."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return bytes.fromhex(file.read().strip().replace("-", ""))


def scan_all(data_dir: Layout) -> list[Scan]:
    """Both files, the older epoch first; only those that are there.

    For the lock holder: something that is not our file is moved aside under a foreign name. Raises
    StorageFailed if the disk keeps giving an error: the content may be nowhere else.
    """
    scans = []
    for name in NAMES:
        path = data_dir.ours(name)
        try:
            scans.append(_scan_patiently(path))
        except FileNotFoundError:
            continue
        except OSError as err:
            if err.errno not in FOREIGN_ERRNOS:
                raise
            aside = f"{path}.damaged-{time.time_ns()}"
            log.error("%s is no file of ours (%s): moved to %s", path, err.strerror, aside)
            durable.rename(path, aside)
    return sorted(scans, key=lambda found: found.epoch)


def _scan_patiently(path: str) -> Scan:
    for wait_s in DISK_WAITS_S:
        try:
            return scan(path)
        except OSError as err:
            if err.errno not in DISK_ERRNOS:
                raise
            log.warning("%s cannot be read, tried again in %g s: %s", path, wait_s, err.strerror)
            time.sleep(wait_s)
    try:
        return scan(path)
    except OSError as err:
        if err.errno not in DISK_ERRNOS:
            raise
        raise StorageFailed(
            f"The journal {path} cannot be read ({err.strerror}): mend the disk, then start again. "
            "To start without it, move it to another disk; what was acknowledged last may be only in there."
        ) from err


def needs_replay(data_dir: Layout) -> bool:
    """True after a system crash until the lock holder has replayed: until then nobody may judge a blob."""
    now = boot_id()
    for name in NAMES:
        try:
            with _opened(data_dir.ours(name)) as fd:
                header = _parse_header(os.pread(fd, _PREFIX + _HEADER.size, 0))
        except OSError as err:
            if err.errno in DISK_ERRNOS:
                return True  # nobody knows yet
            if err.errno not in FOREIGN_ERRNOS | {errno.ENOENT}:
                raise
            continue  # not there, or no file: the lock holder's business
        if header is not None and not header.clean and header.boot_id != now:
            return True
    return False


def epochs(data_dir: Layout) -> list[tuple[int, bool] | None]:
    """For each file (epoch, whether it is clean); None if it is lost, or cannot be read."""
    found: list[tuple[int, bool] | None] = []
    for name in NAMES:
        try:
            with _opened(data_dir.ours(name)) as fd:
                beginning = os.pread(fd, HEADER_BYTES, 0)
        except OSError:
            found.append(None)
            continue
        header = _parse_header(beginning)
        never_used = (0, True) if not any(beginning) else None
        found.append((header.epoch, bool(header.clean)) if header is not None else never_used)
    return found


def scan(path: str) -> Scan:
    """Read a journal file. It may contain anything: what is no whole record of its epoch is skipped."""
    found = Scan(path)
    with _opened(path) as fd:
        content = _Window(fd)
        header = _parse_header(content.get(0, _PREFIX + _HEADER.size))
        if header is None:
            # Zeros: never used, or nothing of its first batch reached the disk, so that was not acknowledged.
            found.has_lost_header = any(content.get(0, _PREFIX + _HEADER.size))
            return found
        found.epoch, found.boot_id, found.salt = header.epoch, header.boot_id, header.salt
        found.clean = bool(header.clean)
        if not found.clean:
            _scan_records(content, found)
    return found


def is_clean(beginning: bytes) -> bool:
    """Whether a journal file that begins so holds nothing that the folders might lack. Of HEADER_BYTES."""
    header = _parse_header(beginning)
    return bool(header.clean) if header is not None else not any(beginning)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """A descriptor of a plain file. Raises OSError with one of FOREIGN_ERRNOS for anything else."""
    fd = open_ours(path)
    try:
        yield fd
    finally:
        os.close(fd)


def _scan_records(content: _Window, found: Scan) -> None:
    at = DATA_START
    torn_batch = 0  # a gap stands before a later part of this batch
    while at >= 0:
        record = _parse_record(content, at, found.epoch, found.salt)
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
        if batch > found.last_batch:
            found.last_start = at
        found.changes.append(payload)
        found.last_batch, found.end, at = batch, end, end


class _Header(NamedTuple):
    epoch: int
    clean: int
    boot_id: bytes
    salt: int


def _parse_header(content: bytes) -> _Header | None:
    body = content[_PREFIX : _PREFIX + _HEADER.size]
    if len(body) < _HEADER.size or content[:_PREFIX] != _HEADER_MAGIC + struct.pack("<I", crc(body)):
        return None
    return _Header(*_HEADER.unpack(body))


def _parse_record(
    content: _Window, at: int, epoch: int, salt: int
) -> tuple[int, int, list[JournalEntry], int] | None:
    start = at + _PREFIX + _HEAD.size
    head = content.get(at, _PREFIX + _HEAD.size)
    if head[:4] != _RECORD_MAGIC or start > content.size:
        return None
    found_epoch, batch, index, length = _HEAD.unpack_from(head, _PREFIX)
    end = start + length
    if found_epoch != epoch or end > content.size:
        return None
    payload = content.get(start, length)
    if struct.unpack_from("<I", head, 4)[0] != crc(payload, crc(head[_PREFIX:], salt)):
        return None
    try:
        return batch, index, _decode(payload), end + -end % _ALIGN
    except (msgspec.DecodeError, UnicodeError):
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
            self._bytes = os.pread(self._fd, max(length, WINDOW_BYTES), at)
        return self._bytes[offset : offset + length]

    def find_magic(self, at: int) -> int:
        """Where the next record may begin, from `at` on; -1 where nowhere."""
        while at < self.size:
            found = self.get(at, WINDOW_BYTES).find(_RECORD_MAGIC)
            if found >= 0:
                return at + found
            at += WINDOW_BYTES - len(_RECORD_MAGIC) + 1
        return -1


def write_last_again(found: Scan) -> None:
    """Make durable what `scan` found. Raises SyncFailed, OSError.

    The last batch, and the header with a first one, may never have reached the disk: their process died
    before it synced them, or the sync failed and the kernel dropped what it could not write.
    """
    fd = durable.open_in_place(found.path)
    try:
        for start, end in ((0, _PREFIX + _HEADER.size), (found.last_start, found.end)):
            durable.write_at(fd, os.pread(fd, end - start, start), start)
        durable.sync_file(fd)
    finally:
        os.close(fd)


def mark_clean(found: Scan) -> None:
    """Mark a scanned file clean, durably: all that it covers is synced in the folders. Raises as above."""
    fd = durable.open_in_place(found.path)
    try:
        durable.write_at(fd, header_of(found.epoch, True, found.salt), 0)
        durable.sync_file(fd)
    finally:
        os.close(fd)


def header_of(epoch: int, clean: bool, salt: int) -> bytes:
    """The first bytes of a journal file."""
    body = _HEADER.pack(epoch, clean, boot_id(), salt)
    return _HEADER_MAGIC + struct.pack("<I", crc(body)) + body


def framed(payload: bytes, epoch: int, batch: int, index: int, salt: int) -> tuple[bytes, bytes, bytes]:
    """A whole record, padded: the three parts that follow one another. So a large payload is not copied."""
    head = _HEAD.pack(epoch, batch, index, len(payload))
    sum_of_both = crc(payload, crc(head, salt))
    padding = bytes(-(len(head) + len(payload)) % _ALIGN)
    return _RECORD_MAGIC + struct.pack("<I", sum_of_both) + head, payload, padding


def record_bytes(payload: bytes) -> int:
    """How much room a payload takes."""
    length = _PREFIX + _HEAD.size + len(payload)
    return length + -length % _ALIGN


def entries_of(scans: list[Scan]) -> Iterator[JournalEntry]:
    """Every entry of the files, oldest first."""
    for found in scans:
        for change in found.changes:
            yield from change
