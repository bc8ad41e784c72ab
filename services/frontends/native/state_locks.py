"""LOCK and UNLOCK of a location for terraform's HTTP backend: advisory locks.

A lock is a record of its own in the store. So it is durable, and only one of many clients gets it. Its body
is the JSON that the holder sent, with an "ID". Writes ignore it: terraform asks for the lock first.
"""

from __future__ import annotations

import contextlib

import msgspec

from common.errors import AlreadyExists, BadRequest, BlobkeepError, Damaged, NotFound, TooLarge
from services.read_all import all_bytes
from services.rules.locations import RECORDS
from services.store import Blob, Condition, Content, Store

MAX_BYTES = 16 << 10
_LOCKS = RECORDS + "lock/"
_TYPE = Content("application/json")


class LockedByOther(Exception):
    """Another client has the lock; `holder`: the JSON that it sent."""

    def __init__(self, holder: bytes) -> None:
        super().__init__("held")
        self.holder = holder


class SmallBody:
    """See frontends.handler.Incoming: kept whole, as it is small."""

    def __init__(self) -> None:
        self.content = b""

    async def write(self, data: bytes) -> None:
        """The next bytes. Raises TooLarge."""
        self.content += data
        if len(self.content) > MAX_BYTES:
            raise TooLarge(f"What a lock says has at most {MAX_BYTES:,} bytes.")

    async def abort(self, reason: str) -> None:
        """Nothing is held elsewhere."""


async def lock(store: Store, location: str, said: bytes) -> None:
    """Take the lock, durably. Its holder may ask again.

    Raises LockedByOther, BadRequest; Damaged if the record is damaged, so that the holder is unknown.
    """
    asked = lock_id(said)
    for _ in range(2):  # it may be given back meanwhile
        with contextlib.suppress(AlreadyExists):
            await store.write_whole(_LOCKS + location, _only_new, _TYPE, said)
            return
        found = await _found(store, location)
        if found is not None and lock_id(found[1]) == asked:
            return
        if found is not None:
            raise LockedByOther(found[1])
    raise LockedByOther(said)


async def unlock(store: Store, location: str, said: bytes) -> None:
    """Release the lock, if there is one. An empty body breaks it. Raises LockedByOther, BadRequest.

    Any client may release a damaged one, since its holder is unknown.
    """
    asked = lock_id(said) if said else ""
    while True:
        blob: Blob | None = None
        try:
            found = await _found(store, location)
            if found is None:
                return
            blob, holder = found
            if said and asked != lock_id(holder):
                raise LockedByOther(holder)
        except Damaged:
            pass
        with contextlib.suppress(NotFound, _Changed):  # another may have taken it meanwhile: not that one's
            await store.delete(_LOCKS + location, _still(blob))
            return


async def _found(store: Store, location: str) -> tuple[Blob, bytes] | None:
    try:
        reading = await store.open(_LOCKS + location)
    except NotFound:
        return None
    try:
        return reading.blob, await all_bytes(reading)
    finally:
        reading.close()


class _Lock(msgspec.Struct):
    ID: str


def lock_id(said: bytes) -> str:
    """The ID in the JSON of a client. Raises BadRequest."""
    try:
        return msgspec.json.decode(said, type=_Lock).ID
    except (msgspec.DecodeError, UnicodeError, RecursionError) as err:
        raise BadRequest('Say who takes the lock: send JSON with an "ID".') from err


def _only_new(blob: Blob | None, damaged: bool) -> None:
    if damaged:
        raise Damaged(
            "The lock is held, but what it says of its holder is damaged: give it back once nobody works "
            "under it (UNLOCK without a body, terraform force-unlock)."
        )
    if blob is not None:
        raise AlreadyExists("It is held.")


def _still(found: Blob | None) -> Condition:
    """The condition that the lock is still the one that was found; None: that it is still damaged."""

    def judge(blob: Blob | None, damaged: bool) -> None:
        if damaged != (found is None) or (
            blob is not None and found is not None and blob.version != found.version
        ):
            raise _Changed

    return judge


class _Changed(BlobkeepError):
    """The lock is not the one that was found."""
