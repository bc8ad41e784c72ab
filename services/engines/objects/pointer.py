"""The pointer of a location says what the location holds. Only a change of the pointer changes that. Pure.

A pointer is never deleted: a deleted location keeps a small one, a tombstone. So "create if absent" can
succeed only once in the life of a location, and a delayed request cannot bring back what was deleted. Every
change of a pointer raises its generation. Each state has the txn of the write that made it, which no other
state ever has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from common import checksum
from common.errors import CorruptRecord
from services.engines.objects import framing, txn
from services.store import Event

OK = "OK"
DELETED = "Deleted"
DAMAGED = "Damaged"
KILLED = "Killed"  # of a Past alone

KIND = "pointer"
# `gc=False` below: these refer to no one that refers to them, so the collector of cycles need not look at the
# thousands that `pointers.py` remembers.

# How many earlier states a pointer remembers: at least so many, and up to so many that ended recently. A
# writer that got no answer finds its own write among them.
KEPT_PAST = 8
MAX_PAST = 96
KEPT_PAST_NS = 120 * 1_000_000_000
# The pointer has the checksums of up to so many chunks; those of a larger blob have an object of their own.
MAX_SUMS_CHUNKS = 1024


class Facts(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What is known of a blob's bytes. Times are Unix times in nanoseconds.

    `crcs`: of each chunk, packed (common/checksum.py). A blob over MAX_SUMS_CHUNKS chunks has them in an
    object of their own, whose checksum is `sums_crc`. `part_bytes`: the size of every part but the last; 0 if
    the bytes are in the pointer itself. `history`: of a blob that was copied from another engine, oldest
    first.
    """

    size: int
    sha256: bytes
    begun_ns: int
    modified_ns: int
    type: str = "application/octet-stream"
    encoding: str = ""
    metadata: dict[str, str] = {}
    crcs: bytes = b""
    sums_crc: int | None = None
    part_bytes: int = 0
    history: list[Event] = []

    @property
    def parts(self) -> int:
        """How many objects have its bytes; 0 if the pointer has them."""
        return -(-self.size // self.part_bytes) if self.part_bytes else 0


class Past(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A write that is no longer the pointer's state, or never became it.

    `since`: the generation that it began with; `ended_ns`: when it was replaced; `state`: what it was.
    KILLED: the gc took the write for dead at the generation `since`, and it can never become the state.
    `done_ns`: when its blob was complete, 0 if there was none, or an earlier version wrote this.
    """

    txn: str
    since: int
    ended_ns: int
    state: str
    done_ns: int = 0


class Pointer(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One state of a location.

    `generation` grows with every change, from 1; `since`: the generation that this txn began with. `past`: by
    `since`, the newest first, complete after generation `forgot`. `first`: the txn of the first state, empty
    if it is not known. `facts`: of the blob; None in a tombstone. `reason`: why it is damaged.
    """

    location: str
    state: str
    generation: int
    txn: str
    since: int
    changed_ns: int
    first: str
    past: list[Past] = []
    forgot: int = 0
    facts: Facts | None = None
    reason: str = ""

    @property
    def data_txn(self) -> str:
        """The txn of the objects with the blob's bytes; empty if the pointer has the bytes."""
        return self.txn if self.facts is not None and self.facts.part_bytes else ""

    def find(self, write: str) -> Past | None:
        """What is remembered of a write that is not the state."""
        return next((past for past in self.past if past.txn == write), None)


class Known(NamedTuple):
    """A pointer as it was seen in the bucket. `etag` None: there is none; `pointer` None: it is unreadable.

    `body_at`: where a small blob's bytes begin in the object.
    """

    etag: str | None
    pointer: Pointer | None
    body_at: int = 0

    @property
    def generation(self) -> int:
        return self.pointer.generation if self.pointer is not None else 0

    @property
    def is_damaged(self) -> bool:
        """Whether a read is an error until the location is written or deleted."""
        if self.pointer is None:
            return self.etag is not None
        return self.pointer.state == DAMAGED

    @property
    def blob(self) -> ObjectBlob | None:
        """The blob that is served; None if there is none, or it is damaged."""
        if self.pointer is None or self.pointer.state != OK or self.pointer.facts is None:
            return None
        return ObjectBlob(self.pointer, self.pointer.facts)


ABSENT = Known(None, None)


class ObjectBlob:
    """A blob as it is served: see services/store.py."""

    __slots__ = ("facts", "pointer")

    def __init__(self, pointer: Pointer, facts: Facts) -> None:
        self.pointer = pointer
        self.facts = facts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectBlob) and self.pointer == other.pointer

    def __hash__(self) -> int:
        return hash(self.pointer.txn)

    @property
    def location(self) -> str:
        return self.pointer.location

    @property
    def id(self) -> str:
        return txn.blob_id(self.pointer.location, self.pointer.txn)

    @property
    def version(self) -> str:
        return self.pointer.txn

    @property
    def size(self) -> int:
        return self.facts.size

    @property
    def sha256(self) -> bytes:
        return self.facts.sha256

    @property
    def modified_ns(self) -> int:
        return self.facts.modified_ns

    @property
    def type(self) -> str:
        return self.facts.type

    @property
    def encoding(self) -> str:
        return self.facts.encoding

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.facts.metadata


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Pointer)


def encode(pointer: Pointer, *body: checksum.Bytes) -> bytes:
    """The whole object. `body`: the bytes of a blob that stands in its pointer, in pieces."""
    return framing.frame(KIND, _encode(pointer), *body, marked=pointer.state == DELETED)


def decode(begin: checksum.Bytes) -> Pointer:
    """The pointer at the beginning of an object's bytes. Raises CorruptRecord."""
    return _decoded(begin)[0]


def _decoded(begin: checksum.Bytes) -> tuple[Pointer, int]:
    """The same, and where its line ends begin."""
    json, end = framing.parse(KIND, begin)
    try:
        return _decoder.decode(json), end
    except msgspec.DecodeError as err:
        raise CorruptRecord(f"A pointer is not of our form: {err}") from err


def seen(etag: str, begin: checksum.Bytes, length: int, location: str | None) -> Known:
    """The pointer in an object of `length` bytes that begins with `begin`.

    `location`: the location it should have, None if that is not known. A pointer of another location counts
    as unreadable.
    """
    try:
        pointer, end = _decoded(begin)
        body_bytes = pointer.facts.size if pointer.facts is not None and not pointer.facts.part_bytes else 0
        body_at = length - body_bytes
        if not 1 <= body_at - end <= 2:
            raise CorruptRecord("A pointer is longer or shorter than it says.")
    except CorruptRecord:
        return Known(etag, None)
    if location is not None and pointer.location != location:
        return Known(etag, None)
    return Known(etag, pointer, body_at)


def next_state(
    known: Known,
    *,
    location: str,
    state: str,
    write: str,
    now_ns: int,
    facts: Facts | None = None,
) -> Pointer:
    """The pointer after the write with the txn `write`, on top of what is known."""
    old = known.pointer
    if old is None:
        # The generation of an unreadable pointer is not known: take one that is above any that was counted.
        first, generation = (write, 1) if known.etag is None else ("", now_ns)
        return Pointer(
            location, state, generation, write, generation, now_ns, first, [], generation - 1, facts
        )
    generation = old.generation + 1
    done_ns = old.facts.modified_ns if old.facts is not None else 0
    past, forgot = _remember(old, Past(old.txn, old.since, now_ns, old.state, done_ns), now_ns)
    return Pointer(location, state, generation, write, generation, now_ns, old.first, past, forgot, facts)


def fenced(known: Known, *, location: str, killed: str, write: str, now_ns: int) -> Pointer:
    """The same state with the next generation, which says that `killed` can never become the state.

    A swap of the earlier pointer then fails, and a writer that reads the new one sees that it was killed. If
    there is no pointer, this is a tombstone, so that no create can succeed; `write` is the txn of the fence.
    """
    old = known.pointer
    if old is None:
        old = next_state(known, location=location, state=DELETED, write=write, now_ns=now_ns)
    generation = old.generation + 1
    past, forgot = _remember(old, Past(killed, generation, now_ns, KILLED), now_ns)
    return msgspec.structs.replace(old, generation=generation, past=past, forgot=forgot)


def _remember(old: Pointer, new: Past, now_ns: int) -> tuple[list[Past], int]:
    """(`past` with one more, `forgot`)."""
    past = sorted([new, *old.past], key=lambda one: -one.since)
    keep = min(len(past), KEPT_PAST)
    while keep < min(len(past), MAX_PAST) and past[keep].ended_ns > now_ns - KEPT_PAST_NS:
        keep += 1
    forgotten = past[keep:]
    return past[:keep], max(old.forgot, forgotten[0].since) if forgotten else old.forgot


def damaged(pointer: Pointer, reason: str) -> Pointer:
    """The same state, no longer served. `reason` is for people."""
    return msgspec.structs.replace(pointer, state=DAMAGED, generation=pointer.generation + 1, reason=reason)


def restored(pointer: Pointer) -> Pointer:
    """The inverse: the same state, served again, with the next generation."""
    return msgspec.structs.replace(pointer, state=OK, generation=pointer.generation + 1, reason="")
