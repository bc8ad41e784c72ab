"""The state file of a blob, `blob_state.base64.json`, as a pure format: bytes to BlobRecord and back.

The file, line by line (design: 'A blob'; the first three parts are the original server's grammar):

    BLOB_BASE64_<version>:<base64 of a JSON object>
    <empty line>
    <RFC 3339 time, whole seconds> - <OK|Pending|Failure> - <message>      newest first, one an event
    ...
    <empty line>
    data: <size> bytes, sha256 <hex>                                       only of a complete blob
    chunks: <CRC-32C of every MiB of the data, 8 hex digits each>          only where there is data
    state: crc32c <8 hex digits>                                           of every byte before this line

The original reads the first line that holds `BLOB_BASE64_` and ignores every other one, so what we add
after it does not disturb it. The JSON is the original's object with one more member, `blobkeep`:
{"seq", "size", "sha256", "type", "encoding", "modified_ns"} and, where there is any, "meta", the blob's
metadata. A record with that member must carry the last line, and that line must be right; a record without
it is the original's, which has no checksum.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from sys import intern
from types import MappingProxyType
from typing import Protocol

import msgspec

from common import checksum
from common.errors import CorruptRecord
from common.states import CODE, MSG_COMPLETE, MSG_WRITING, WORD_OF_CODE, State, advance
from common.times import rfc3339, to_the_second, unix_ns

VERSION = "blobkeep1"
PREFIX = b"BLOB_BASE64_"
LOG_SLOTS = 16  # the original's ring; we keep the newest 16 in order, which is a ring not yet wrapped
DEFAULT_TYPE = "application/octet-stream"
NO_METADATA: Mapping[str, str] = MappingProxyType({})
_SEAL = b"state: crc32c "
_OK = CODE[State.COMPLETE]
_PENDING = CODE[State.PENDING]


class Event(msgspec.Struct, frozen=True, gc=False):
    """One entry of the history: `code` as in states.CODE, `at` in RFC 3339 with up to nanoseconds."""

    code: int
    message: str
    at: str


class BlobRecord(msgspec.Struct, frozen=True, gc=False):
    """What the state file says of one blob. Immutable: a transition gives a new record.

    It cannot be part of a cycle, so the garbage collector need not look at it.

    `seq` only grows over the life of a directory, and is unique in it. `sha256` (32 bytes) and `crcs`
    (checksum.pack_crcs) are set once the blob is complete; a record of the original server never has them.
    """

    id: int
    location: str
    seq: int
    state: State
    events: tuple[Event, ...]  # oldest first, at most LOG_SLOTS
    size: int = 0
    sha256: bytes = b""
    crcs: bytes = b""
    type: str = DEFAULT_TYPE
    encoding: str = ""
    modified_ns: int = 0  # when it became complete; Unix time in nanoseconds
    metadata: dict[str, str] = {}

    @property
    def is_original(self) -> bool:
        """True if the original server wrote it: it may be complete without checksums."""
        return self.state is State.COMPLETE and not self.sha256

    def advanced(self, state: State, message: str, now_ns: int) -> BlobRecord:
        """The record after one more event. Raises IllegalTransition against the table in `states`."""
        advance(self.state, state)
        event = Event(CODE[state], message, rfc3339(now_ns))
        return msgspec.structs.replace(self, state=state, events=(*self.events, event)[-LOG_SLOTS:])

    def completed(
        self, size: int, sha256: bytes, crcs: bytes, now_ns: int, attributes: Mapping[str, str] = NO_METADATA
    ) -> BlobRecord:
        """The record once all bytes are there, with what is known of them; `attributes` join the metadata."""
        done = self.advanced(State.COMPLETE, MSG_COMPLETE, now_ns)
        metadata = {**done.metadata, **attributes}
        return msgspec.structs.replace(
            done, size=size, sha256=sha256, crcs=crcs, modified_ns=now_ns, metadata=metadata
        )


def created(
    blob_id: int,
    location: str,
    seq: int,
    message: str,
    now_ns: int,
    media_type: str,
    encoding: str,
    metadata: Mapping[str, str] = NO_METADATA,
) -> BlobRecord:
    """The first record of a new blob, in state CREATED."""
    first = Event(CODE[advance(None, State.CREATED)], message, rfc3339(now_ns))
    return BlobRecord(
        *(blob_id, location, seq, State.CREATED, (first,)),
        type=media_type,
        encoding=encoding,
        metadata=dict(metadata),
    )


def whole(
    blob_id: int,
    location: str,
    seq: int,
    message: str,
    now_ns: int,
    media_type: str,
    encoding: str,
    size: int,
    sha256: bytes,
    crcs: bytes,
    metadata: Mapping[str, str] = NO_METADATA,
) -> BlobRecord:
    """The record of a blob that came whole: created, written and complete in one moment.

    What `created`, `advanced` and `completed` come to, at a quarter of their 4 µs: each small create pays it.
    """
    at = rfc3339(now_ns)
    events = (Event(_OK, message, at), Event(_PENDING, MSG_WRITING, at), Event(_OK, MSG_COMPLETE, at))
    return BlobRecord(
        *(blob_id, location, seq, State.COMPLETE, events, size, sha256, crcs),
        *(media_type, encoding, now_ns, dict(metadata)),
    )


class Ranked(Protocol):
    """A record, or a blob as it is served."""

    @property
    def id(self) -> int: ...

    @property
    def seq(self) -> int: ...


def rank(blob: Ranked) -> tuple[int, int]:
    """Of two complete blobs of one location the higher is served, whoever decides it.

    The original server's records have no number, and may be equal but for the id.
    """
    return blob.seq, blob.id


# --- the JSON, as msgspec types: what the original has, and our one member ---


class _Status(msgspec.Struct, gc=False):
    code: int
    msg: str


class _Entry(msgspec.Struct, gc=False):
    status: _Status
    timestamp: str


class _Log(msgspec.Struct, gc=False):
    log: list[_Entry]
    index: int


class _Ours(msgspec.Struct, gc=False):
    seq: int
    size: int = 0
    sha256: str = ""
    type: str = DEFAULT_TYPE
    encoding: str = ""
    modified_ns: int = 0
    meta: dict[str, str] | msgspec.UnsetType = msgspec.UNSET  # not there: none


class _Options(msgspec.Struct, gc=False):
    map: dict[str, str] | None = None


class _Leftover(msgspec.Struct, gc=False):
    pass


class _Document(msgspec.Struct, gc=False):
    id: int
    location: str
    options: _Options
    status: _Log
    UpdateMU: _Leftover
    blobkeep: _Ours | None = None


_decode = msgspec.json.Decoder(_Document).decode
_encode = msgspec.json.Encoder().encode


def dump(record: BlobRecord) -> bytes:
    """The whole content of the state file for `record`."""
    events = record.events
    entries = [_Entry(_Status(e.code, e.message), e.at) for e in events]
    document = _Document(
        id=record.id,
        location=record.location,
        options=_Options(),
        status=_Log(entries, len(entries) % LOG_SLOTS),
        UpdateMU=_Leftover(),
        blobkeep=_Ours(
            *(record.seq, record.size, record.sha256.hex(), record.type, record.encoding, record.modified_ns),
            record.metadata or msgspec.UNSET,
        ),
    )
    packed = binascii.b2a_base64(_encode(document), newline=False).decode()
    lines = [f"BLOB_BASE64_{VERSION}:{packed}", ""]
    lines += [f"{to_the_second(e.at)} - {WORD_OF_CODE[e.code]} - {e.message}" for e in reversed(events)]
    lines.append("")
    if record.state is State.COMPLETE:
        lines.append(f"data: {record.size} bytes, sha256 {record.sha256.hex()}")
        if record.crcs:
            lines.append("chunks: " + record.crcs.hex(" ", 4))
    body = "\n".join(lines).encode() + b"\n"
    return body + _SEAL + b"%08x\n" % checksum.crc(body)


def load(content: bytes) -> BlobRecord:
    """The record that `content` holds, ours or the original server's. Raises CorruptRecord.

    A record of ours is taken only if its checksum is right: no byte of the file can change unseen. Costs
    4 µs; for serving alone there is `plain.parse`.
    """
    start = content.find(PREFIX)
    end = content.find(b"\n", start)
    if start < 0 or end < 0:
        raise CorruptRecord("The state file has no BLOB_BASE64_ line.")
    first_line = content[start:end].split(b":")
    if len(first_line) != 2:
        raise CorruptRecord("The first line of the state file has no single colon.")
    try:
        document = _decode(binascii.a2b_base64(first_line[1], strict_mode=True))
    except (binascii.Error, msgspec.DecodeError, UnicodeError) as err:
        raise CorruptRecord(f"The first line of the state file does not decode: {err}.") from err
    sealed = _check_seal(content)
    ours = document.blobkeep
    if not sealed and (ours is not None or first_line[0] == PREFIX + VERSION.encode()):
        raise CorruptRecord("The state file is cut short: its checksum line is missing.")
    try:
        return _from_document(document, content if sealed else b"")
    except (ValueError, IndexError, KeyError, OverflowError) as err:
        raise CorruptRecord(f"The state file has an impossible value: {err}.") from err


def _check_seal(content: bytes) -> bool:
    """True if the last line is a checksum that is right, False if there is none. Raises CorruptRecord."""
    at = content.rfind(_SEAL)
    if at < 0:
        return False
    if content[at:] != _SEAL + b"%08x\n" % checksum.crc(content[:at]):
        raise CorruptRecord("The state file fails its checksum.")
    return True


def _from_document(document: _Document, sealed_content: bytes) -> BlobRecord:
    ring = document.status.log
    if not 0 < len(ring) <= LOG_SLOTS:
        raise ValueError(f"{len(ring)} log entries")
    if len(ring) == LOG_SLOTS:  # wrapped: the oldest entry is the one to be overwritten next
        index = document.status.index % LOG_SLOTS
        ring = ring[index:] + ring[:index]
    events = tuple([Event(e.status.code, e.status.msg, e.timestamp) for e in ring])
    ours = document.blobkeep
    newest = ring[-1]
    state = _state_of(newest.status)
    complete = state is State.COMPLETE
    if ours is None:
        newest_ns = unix_ns(newest.timestamp)
        # No number: it counts by the time of its last entry, which our numbers (µs) are comparable with.
        return BlobRecord(
            document.id, document.location, newest_ns // 1000, state, events, modified_ns=newest_ns
        )
    crcs = _chunks(sealed_content) if complete else b""
    sha256 = bytes.fromhex(ours.sha256)
    if complete and (len(sha256) != 32 or len(crcs) != 4 * checksum.chunk_count(ours.size)):
        raise ValueError("checksums do not fit the size")
    return BlobRecord(
        document.id,
        document.location,
        ours.seq,
        state,
        events,
        ours.size,
        sha256,
        crcs,
        intern(ours.type),  # a store has few of them, and many blobs of each
        intern(ours.encoding),
        ours.modified_ns,
        {} if ours.meta is msgspec.UNSET else ours.meta,
    )


def _state_of(newest: _Status) -> State:
    if newest.code == CODE[State.FAILURE]:
        return State.FAILURE
    if newest.code == CODE[State.PENDING]:
        return State.PENDING
    if newest.code != CODE[State.COMPLETE]:
        raise ValueError(f"status code {newest.code}")
    # Both CREATED and COMPLETE are OK on disk; the message tells them apart, ours and the original's.
    return State.COMPLETE if newest.msg == MSG_COMPLETE else State.CREATED


def _chunks(content: bytes) -> bytes:
    at = content.rfind(b"\nchunks: ")
    if at < 0:
        return b""
    return bytes.fromhex(content[at + len(b"\nchunks: ") : content.index(b"\n", at + 1)].decode())
