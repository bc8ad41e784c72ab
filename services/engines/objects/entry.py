"""The state object of a write, `gc/<txn>`: what the gc may have to remove. Pure.

A write makes one before it stores data of its own, or replaces a blob that has data; it names both. It has
two states. Pending: the write may go on. Failure is final: the write sets it when it is given up, or the gc
sets it as a claim. Safety does not depend on state objects: they only say where to look (`collect.py`).
"""

from __future__ import annotations

import msgspec

from common.checksum import Bytes
from common.errors import CorruptRecord
from common.states import State
from services.engines.objects import framing, keys

KIND = "state"
PENDING = State.PENDING.value
FAILURE = State.FAILURE.value


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """See the module docstring. Times are Unix times in nanoseconds.

    `base`: the generation of the pointer that the write is going to replace.
    `brings`: the write has data of its own, under its txn. `old`: the txn of the data that it replaces, empty
    if there is none; `old_parts`: the number of its parts, 0 if it is not known; `old_sums`: whether its
    checksums are in an object of their own. `beats`: counts the signs of life of a long upload. `reason`: of
    the failure.
    """

    txn: str
    location: str
    base: int
    begun_ns: int
    state: str = PENDING
    brings: bool = False
    old: str = ""
    old_parts: int = 0
    old_sums: bool = False
    type: str = "application/octet-stream"
    beats: int = 0
    reason: str = ""
    failed_ns: int = 0


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """The whole object: of even length in Failure, of odd length while Pending."""
    return framing.frame(KIND, _encode(entry), marked=entry.state == FAILURE)


def decode(data: Bytes) -> Entry:
    """The inverse. Raises CorruptRecord."""
    try:
        return _decoder.decode(framing.parse(KIND, data)[0])
    except msgspec.DecodeError as err:
        raise CorruptRecord(f"A state object is not of our form: {err}") from err


def is_failure(data: Bytes) -> bool:
    """Whether these are the bytes of a state object in Failure."""
    return framing.is_marked(len(data))


def old_keys(entry: Entry) -> list[str]:
    """The keys of the data that the write replaces, if it knows the parts."""
    found = [keys.part_key(entry.location, entry.old, part) for part in range(entry.old_parts)]
    return [*found, keys.sums_key(entry.location, entry.old)] if entry.old_sums else found


def failed(entry: Entry, reason: str, now_ns: int) -> Entry:
    """The same write in Failure."""
    return msgspec.structs.replace(entry, state=FAILURE, reason=reason, failed_ns=now_ns)
