"""The state file of a blob, `blob_state.base64.json`, as a pure format: bytes to BlobRecord and back.

The file, line by line (design: 'A blob'; the first three parts are the original server's grammar):

    BLOB_BASE64_<version>:<base64 of a JSON object>
    <empty line>
    <RFC 3339 time, whole seconds> - <OK|Pending|Failure> - <message>      newest first, one an event
    ...
    <empty line>
    location: "<the location>"                                             for people; quoted, see `quoted`
    data: <size> bytes, sha256 <hex>                                       of a complete blob, or a kept one
    chunks: <CRC-32C of every MiB of the data, 8 hex digits each>          only where there is data
    state: crc32c <8 hex digits>                                           of every byte before this line

The original reads the first line that contains `BLOB_BASE64_` and ignores all others, so our additions do not
disturb it. The JSON is the original's object with one more member, `blobkeep`: {"seq", "size", "sha256",
"type", "encoding", "modified_ns"} and, if there is any, "meta", the blob's metadata. A record with that
member must have a right last line. A record without it is the original's, which has no checksum. The location
is read from the JSON, since older files have no line for it.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import msgspec

from common import checksum
from common.errors import CorruptRecord
from common.states import (
    CODE,
    MSG_COMPLETE,
    MSG_CREATED,
    MSG_UPDATED,
    MSG_WRITING,
    WORD_OF_CODE,
    State,
    advance,
)
from common.times import rfc3339, to_the_second, unix_ns
from services.engines.local.disk import record_json as json
from services.engines.local.disk.header_text import clean_encoding, clean_metadata, clean_type

VERSION = "blobkeep1"
PREFIX = b"BLOB_BASE64_"
LOG_SLOTS = 16  # the original's ring; we keep the newest 16 in order, which is a ring not yet wrapped
DEFAULT_TYPE = json.DEFAULT_TYPE
NO_METADATA: Mapping[str, str] = MappingProxyType({})
_SEAL = b"state: crc32c "
_OK = CODE[State.COMPLETE]
_COMPLETE = State.COMPLETE  # as a name of this module: to ask an enum costs 90 ns in Python 3.11
_PENDING = CODE[State.PENDING]
_STATE_OF_CODE = {CODE[state]: state for state in (State.COMPLETE, State.PENDING, State.FAILURE)}
_NO_OPTIONS, _LEFTOVER = json.Options(), json.Leftover()  # the same in every file of ours
_HISTORY_LINE = re.compile(rb"^\S+ - (OK|Pending|Failure) - ", re.MULTILINE)


class Transition(msgspec.Struct, frozen=True, gc=False):
    """One entry of the history: `code` as in states.CODE, `at` in RFC 3339 with up to nanoseconds."""

    code: int
    message: str
    at: str


class BlobRecord(msgspec.Struct, frozen=True, gc=False):
    """What the state file says of one blob. Immutable: a transition gives a new record.

    It cannot be part of a cycle, so the garbage collector skips it.

    `seq` only grows over the life of a directory, and is unique in it. `sha256` (32 bytes) and `crcs`
    (checksum.pack_crcs) are set when the blob is complete; a record of the original server never has them. A
    record in Failure has them only while the blob can be brought back.
    """

    id: int
    location: str
    seq: int
    state: State
    events: tuple[Transition, ...]  # oldest first, at most LOG_SLOTS
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

    @property
    def is_whole(self) -> bool:
        """True if it has the checksums of all its bytes, so that they can be verified."""
        return len(self.sha256) == 32 and len(self.crcs) == 4 * checksum.chunk_count(self.size)

    def advanced(self, state: State, message: str, now_ns: int) -> BlobRecord:
        """The record after one more event. Raises IllegalTransition against the table in `states`."""
        advance(self.state, state)
        event = Transition(CODE[state], message, rfc3339(now_ns))
        return msgspec.structs.replace(self, state=state, events=(*self.events, event)[-LOG_SLOTS:])

    def completed(
        self, size: int, sha256: bytes, crcs: bytes, now_ns: int, attributes: Mapping[str, str] = NO_METADATA
    ) -> BlobRecord:
        """The record when all bytes are there, with their checksums; `attributes` join the metadata."""
        done = self.advanced(State.COMPLETE, MSG_COMPLETE, now_ns)
        metadata = {**done.metadata, **attributes}
        return msgspec.structs.replace(
            done, size=size, sha256=sha256, crcs=crcs, modified_ns=now_ns, metadata=metadata
        )

    def moved(self, modified_ns: int, history: Sequence[Transition]) -> BlobRecord:
        """The complete record of a blob from another engine, with its time and history there."""
        said = (Transition(e.code, _printable(e.message), _printable(e.at)) for e in history)
        events = (*said,) if _ends_complete(history) else (*said, self.events[-1])
        return msgspec.structs.replace(self, modified_ns=modified_ns, events=events[-LOG_SLOTS:])


def _ends_complete(events: Sequence[Transition]) -> bool:
    return bool(events) and events[-1].message == MSG_COMPLETE


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
    first = Transition(CODE[advance(None, State.CREATED)], message, rfc3339(now_ns))
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

    The same as `created`, `advanced` and `completed`, at a quarter of their 4 µs, which each small create
    pays.
    """
    at = rfc3339(now_ns)
    events = (
        Transition(_OK, message, at),
        Transition(_PENDING, MSG_WRITING, at),
        Transition(_OK, MSG_COMPLETE, at),
    )
    kept = dict(metadata)
    return BlobRecord(
        blob_id, location, seq, _COMPLETE, events, size, sha256, crcs, media_type, encoding, now_ns, kept
    )


class Ranked(Protocol):
    """A record, or a blob as it is served."""

    @property
    def id(self) -> int: ...

    @property
    def seq(self) -> int: ...


def rank(blob: Ranked) -> tuple[int, int]:
    """The rank of a complete blob: of two blobs of one location the higher is served, in all of the code.

    The original server's records have no number, and may differ only in the id.
    """
    return blob.seq, blob.id


def dump(record: BlobRecord) -> bytes:
    """The whole content of the state file for `record`."""
    events = record.events
    sha256 = record.sha256.hex()
    entries = [json.LogEntry(json.Status(e.code, e.message), e.at) for e in events]
    document = json.Document(
        id=record.id,
        location=record.location,
        options=_NO_OPTIONS,
        status=json.Log(entries, len(entries) % LOG_SLOTS),
        UpdateMU=_LEFTOVER,
        blobkeep=json.Ours(
            record.seq,
            record.size,
            sha256,
            record.type,
            record.encoding,
            record.modified_ns,
            record.metadata or msgspec.UNSET,
        ),
    )
    packed = binascii.b2a_base64(json.encode(document), newline=False).decode()
    lines = [f"BLOB_BASE64_{VERSION}:{packed}", ""]
    lines += [f"{to_the_second(e.at)} - {WORD_OF_CODE[e.code]} - {e.message}" for e in reversed(events)]
    lines += ["", f"location: {quoted(record.location)}"]
    if record.state is _COMPLETE or (record.state is State.FAILURE and record.is_whole):
        lines.append(f"data: {record.size} bytes, sha256 {sha256}")
        if record.crcs:
            lines.append("chunks: " + record.crcs.hex(" ", 4))
    body = "\n".join(lines).encode() + b"\n"
    return body + _SEAL + b"%08x\n" % checksum.crc(body)


def quoted(location: str) -> str:
    """`location` as a JSON string on one line: quotes, backslashes and unprintable characters are escaped.

    So no location can look like another line, or change the order of characters on a terminal.
    """
    if location.isprintable() and '"' not in location and "\\" not in location:
        return f'"{location}"'
    return '"' + "".join(map(_escaped, location)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    code = char.encode("utf-16-be")
    return "".join(f"\\u{code[at : at + 2].hex()}" for at in range(0, len(code), 2))


def load(content: bytes) -> BlobRecord:
    """The record that `content` holds, ours or the original server's. Raises CorruptRecord, MemoryError.

    A record of ours is accepted only if its checksum is right, so no byte of the file can change unseen.
    Costs 8 µs; `scan.parse` is quicker, but gives only what serving needs. Raises nothing else, whatever the
    file has.
    """
    try:
        return _load(content)
    except (CorruptRecord, MemoryError):
        raise
    except RecursionError as err:
        raise CorruptRecord("The state file is nested too deep.") from err
    except Exception as err:
        raise CorruptRecord(f"The state file has an impossible value: {err}.") from err


def _load(content: bytes) -> BlobRecord:
    start = content.find(PREFIX)
    end = content.find(b"\n", start)
    if start < 0 or end < 0:
        raise CorruptRecord("The state file has no BLOB_BASE64_ line.")
    first_line = content[start:end].split(b":")
    if len(first_line) != 2:
        raise CorruptRecord("The first line of the state file has no single colon.")
    try:
        document = json.decode(binascii.a2b_base64(first_line[1], strict_mode=True))
    except (binascii.Error, msgspec.DecodeError, UnicodeError) as err:
        raise CorruptRecord(f"The first line of the state file does not decode: {err}.") from err
    sealed = _check_seal(content)
    ours = document.blobkeep
    if not sealed and (ours is not None or first_line[0] == PREFIX + VERSION.encode()):
        raise CorruptRecord("The state file is cut short: its checksum line is missing.")
    events = _events(document.status)
    if not document.location:
        raise ValueError("no location")
    blob_id = document.id or 0
    if ours is not None:
        return _of_ours(blob_id, document.location, ours, events, content)
    _must_agree(events, content[end:])
    newest_ns = _clamped_ns(events[-1].at)
    # No number: it counts by the time of its last entry, which our numbers (µs) are comparable with.
    return BlobRecord(
        *(blob_id, document.location, newest_ns // 1000, _state_of_original(events), events),
        modified_ns=newest_ns,
    )


def _check_seal(content: bytes) -> bool:
    """True if the last line is a checksum that is right, False if there is none. Raises CorruptRecord."""
    at = content.rfind(_SEAL)
    if at < 0:
        return False
    if content[at:] != _SEAL + b"%08x\n" % checksum.crc(content[:at]):
        raise CorruptRecord("The state file fails its checksum.")
    return True


def _events(found: json.ReadLog | None) -> tuple[Transition, ...]:
    """The history, oldest first. Raises ValueError if it is no ring, or its newest time is invalid."""
    ring = (found.log if found is not None else None) or []
    if not 0 < len(ring) <= LOG_SLOTS:
        raise ValueError(f"{len(ring)} log entries")
    if len(ring) == LOG_SLOTS and found is not None:  # wrapped: the oldest is the one to be overwritten next
        index = (found.index or 0) % LOG_SLOTS
        ring = ring[index:] + ring[:index]
    events = []
    for entry in ring:
        status = (entry.status if entry is not None else None) or json.ReadStatus()
        at = (entry.timestamp if entry is not None else None) or json.NO_TIME
        events.append(Transition(status.code or 0, _printable(status.msg or ""), _printable(at)))
    return tuple(events)


def _of_ours(
    blob_id: int, location: str, ours: json.Ours, events: tuple[Transition, ...], content: bytes
) -> BlobRecord:
    state = _STATE_OF_CODE[events[-1].code]
    sha256 = bytes.fromhex(ours.sha256)
    if state is State.COMPLETE and not sha256:
        # OK stands on disk twice in a life. Only a complete blob has a checksum: no message decides it.
        if events[-1].message == MSG_COMPLETE or (len(events) > 1 and events[-2].code == _PENDING):
            raise ValueError("it is complete, and has no checksum")
        state = State.CREATED
    crcs = _chunks(content) if state in (State.COMPLETE, State.FAILURE) else b""
    found = BlobRecord(
        *(blob_id, location, ours.seq, state, events, ours.size, sha256, crcs),
        *(clean_type(ours.type), clean_encoding(ours.encoding), ours.modified_ns),
        {} if ours.meta is msgspec.UNSET else clean_metadata(ours.meta),
    )
    if state is State.COMPLETE and not found.is_whole:
        raise ValueError("checksums do not fit the size")
    return found


def _state_of_original(events: tuple[Transition, ...]) -> State:
    """The state by the order of the entries; messages do not matter. Raises ValueError if that is unclear:
    what cannot be judged is quarantined, and not taken for a blob that was never complete.
    """
    newest = events[-1]
    state = _STATE_OF_CODE[newest.code]
    if state is not State.COMPLETE:
        return state
    if newest.message == MSG_COMPLETE or (len(events) > 1 and events[-2].code == _PENDING):
        return State.COMPLETE
    if len(events) == 1 and newest.message in (MSG_CREATED, MSG_UPDATED):
        return State.CREATED
    raise ValueError("its log does not tell whether it was ever complete")


def _must_agree(events: tuple[Transition, ...], lines: bytes) -> None:
    """Compare the two states in an original's file: in the JSON, and in the first line of the history.

    Raises ValueError if they differ, or a full ring is out of order: a byte has changed.
    """
    told = _HISTORY_LINE.search(lines)
    word = WORD_OF_CODE[events[-1].code]
    if told is not None and told[1].decode() != word:
        raise ValueError(f"its history says {told[1].decode()}, its log {word}")
    if len(events) == LOG_SLOTS:
        times_ns = [_clamped_ns(event.at) for event in events]
        if times_ns != sorted(times_ns):
            raise ValueError("its log is out of order")


def _clamped_ns(at: str) -> int:
    """A time of the original as Unix time in ns, from 1970 to 2262: others become the nearest of these.

    Raises ValueError for what is no time.
    """
    if at.startswith("0000-"):  # a year to the original, none to Python
        at = "0004" + at[4:]
    try:
        return min(max(unix_ns(at), 0), (1 << 63) - 1)
    except OverflowError:
        return 0  # the first hours of the year 1, in another zone


def _chunks(content: bytes) -> bytes:
    at = content.rfind(b"\nchunks: ")
    if at < 0:
        return b""
    return bytes.fromhex(content[at + len(b"\nchunks: ") : content.index(b"\n", at + 1)].decode())


def _printable(text: str) -> str:
    """On one line: what stands in the history may not look like another line of the state file."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
