"""One upload into the bucket: a small body stays in memory until it is complete, a larger one goes in parts.

A body up to `inline_bytes` is stored in its pointer, so its commit is one conditional write. From the first
byte beyond that it is staged: its state object is made, then it goes into the bucket in parts of
`part_bytes`, each an object of its own. An upload holds one part that is filling, and two that are being
sent, if it has room for them (part_rooms.py). Who waits for room reads no more of its body.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from common import checksum
from common.checksum import Bytes, Hasher
from common.errors import GIVEN_UP, BlobkeepError, Busy, TooLarge, Unavailable
from common.states import MSG_ABORTED
from services.engines.objects.commit import TAKEN_FOR_DEAD, Claimed, Judge, StagedWrite, Tools
from services.engines.objects.part_rooms import PartRoom, PartRooms
from services.engines.objects.pointer import MAX_SUMS_CHUNKS, Facts, Known, ObjectBlob
from services.store import NO_ATTRIBUTES, Content

log = logging.getLogger("objects")

PARTS_ON_THEIR_WAY = 2
MAX_PARTS = 1 << 20  # five hexadecimal digits
BEAT_EVERY_S = 20.0
_HASHED_AT_ONCE_BYTES = 64 << 10  # a longer body is summed in a thread
_MOST_PIECES = 64  # a body that comes byte by byte is copied together


class UploadOwner(Protocol):
    """What an upload needs of the store that began it."""

    tools: Tools
    rooms: PartRooms
    inline_bytes: int
    part_bytes: int
    max_blob_bytes: int

    async def commit_inline(
        self, location: str, judge: Judge, facts: Facts, body: Sequence[bytes], write: str = ""
    ) -> tuple[ObjectBlob, bool]: ...

    async def commit_staged(self, write: StagedWrite, facts: Facts) -> tuple[ObjectBlob, bool]: ...

    def staged(self, write: StagedWrite) -> None: ...

    def given_up(self, write: StagedWrite) -> None: ...

    def upload_ended(self, upload: ObjectUpload) -> None: ...


class ObjectUpload:
    """See store.Upload. Used only from the event loop; sums are computed in threads.

    `is_large`: its bytes go in parts, so it needs room from the first one on. `txn`: of its write; empty for
    a new one.
    """

    def __init__(
        self,
        owner: UploadOwner,
        location: str,
        judge: Judge,
        content: Content,
        known: Known | None,
        txn: str = "",
        *,
        is_large: bool = False,
    ) -> None:
        self._is_large = is_large
        self._room: PartRoom | None = None  # for the part that is filling
        self._owner = owner
        self._location = location
        self._judge = judge
        self._content = content
        self._known = known
        self._txn = txn
        self._begun_ns = time.time_ns()
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._size = 0
        self._hashed = 0, b""  # the SHA-256 of what was not staged, and the size that it belongs to
        self._hasher = Hasher()  # of what was staged
        self._write: StagedWrite | None = None
        self._parts = 0
        self._sending: set[asyncio.Task[None]] = set()
        self._broken: BlobkeepError | None = None  # a part got lost: it cannot go on
        self._beating: asyncio.Task[None] | None = None
        self._ended = False

    @property
    def size(self) -> int:
        """Bytes received so far."""
        return self._size

    @property
    def is_staged(self) -> bool:
        """Whether it is in the bucket, in state Pending."""
        return self._write is not None

    def lend(self) -> None:
        """See store.Upload."""

    def takes(self, data: Bytes) -> bool:
        """See store.Upload: True for what may stay in memory."""
        owner = self._owner
        if self._is_large or self._held_bytes + len(data) > owner.inline_bytes:
            return False
        if owner.max_blob_bytes and self._size + len(data) > owner.max_blob_bytes:
            return False
        self._hold(data)
        return True

    async def write(self, data: Bytes) -> None:
        """See store.Upload."""
        owner = self._owner
        limit = owner.max_blob_bytes
        if limit and self._size + len(data) > limit:
            raise TooLarge(f"The body is over the limit of {limit} bytes (max_blob_size).")
        self._hold(data)
        if self._held_bytes > owner.inline_bytes:
            self._is_large = True
        if self._is_large:
            await self._take_room()
        if self._write is None and self._held_bytes > owner.inline_bytes:
            await self._stage()
        while self._write is not None and self._held_bytes >= owner.part_bytes:
            await self._send(owner.part_bytes)

    def _hold(self, data: Bytes) -> None:
        self._pieces.append(bytes(data))  # of bytes no copy
        self._size += len(data)
        self._held_bytes += len(data)
        if len(self._pieces) == _MOST_PIECES:
            self._pieces = [b"".join(self._pieces)]

    async def sha256(self) -> bytes:
        """See store.Upload."""
        self._must_go_on()
        if self._write is not None and self._held_bytes:
            copy = self._hasher.copy()
            await asyncio.to_thread(copy.update, b"".join(self._pieces))
            return copy.sha256()
        if self._write is not None:
            return self._hasher.sha256()
        sha256, _ = await _sums_of(self._pieces, self._size)
        self._hashed = self._size, sha256
        return sha256

    async def commit(self, attributes: Mapping[str, str] = NO_ATTRIBUTES) -> tuple[ObjectBlob, bool]:
        """See store.Upload."""
        self._must_go_on()  # what it held was dropped
        self._end()
        try:
            if self._write is None:
                return await self._commit_inline(attributes)
            return await self._commit_staged(self._write, attributes)
        except BaseException as err:
            await self._give_up(str(err))
            raise
        finally:
            self._leave_room()

    async def abort(self, reason: str) -> None:
        """See store.Upload."""
        if not self._ended:
            self._end()
            await self._give_up(f"{MSG_ABORTED}: {' '.join(reason.split())[:200]}")

    async def _commit_inline(self, attributes: Mapping[str, str]) -> tuple[ObjectBlob, bool]:
        body = self._pieces
        hashed_bytes, sha256 = self._hashed
        sha256, crcs = await _sums_of(body, self._size, sha256 if hashed_bytes == self._size else b"")
        facts = _facts_of(self._content, self._begun_ns, self._size, sha256, attributes, crcs=crcs)
        return await self._owner.commit_inline(self._location, self._judge, facts, body, self._txn)

    async def _commit_staged(
        self, write: StagedWrite, attributes: Mapping[str, str]
    ) -> tuple[ObjectBlob, bool]:
        if self._held_bytes:
            await self._send(self._held_bytes)
        await self._sent()
        crcs = self._hasher.crcs()
        sums_crc = None
        if checksum.chunk_count(self._size) > MAX_SUMS_CHUNKS:
            await write.bring_sums(crcs)
            crcs, sums_crc = b"", checksum.crc(crcs)
        facts = _facts_of(
            *(self._content, self._begun_ns, self._size, self._hasher.sha256(), attributes),
            crcs=crcs,
            sums_crc=sums_crc,
            part_bytes=self._owner.part_bytes,
        )
        return await self._owner.commit_staged(write, facts)

    async def _stage(self) -> None:
        """Show it in the bucket as Pending, before any of its bytes are there."""
        write = StagedWrite(self._owner.tools, self._location, self._judge, self._txn)
        try:
            await write.begin(self._known or await self._owner.tools.pointers.read(self._location))
        finally:
            self._write = write  # whatever came of it: there may be something to give up
        self._owner.staged(write)
        self._beating = asyncio.ensure_future(self._beat(write))

    async def _send(self, length: int) -> None:
        """Begin to send the next `length` bytes as one part. Waits while two parts of this upload are being
        sent, or too many of all."""
        assert self._write is not None
        room = await self._take_room()
        room.was_filled()
        while len(self._sending) >= PARTS_ON_THEIR_WAY:
            await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
        if self._broken is not None:
            raise self._broken
        if self._parts == MAX_PARTS:
            raise TooLarge(f"The body has over {MAX_PARTS:,} parts of {self._owner.part_bytes} bytes.")
        part = self._take(length)
        await asyncio.to_thread(self._hasher.update, part)
        await self._owner.rooms.places.acquire()
        self._room = None
        task = asyncio.ensure_future(self._bring(self._write, self._parts, part))
        self._parts += 1
        self._sending.add(task)
        task.add_done_callback(functools.partial(self._was_sent, room))

    def _take(self, length: int) -> bytes:
        """The first `length` bytes of those that it holds, which it holds no more."""
        held = b"".join(self._pieces)
        rest = held[length:]
        self._pieces, self._held_bytes = ([rest] if rest else []), len(rest)
        return held[:length]

    def _was_sent(self, room: PartRoom, task: asyncio.Task[None]) -> None:
        self._owner.rooms.places.release()
        room.leave()
        self._sending.discard(task)

    async def _take_room(self) -> PartRoom:
        """Wait until a part may be filled. Raises Busy if the upload was given up meanwhile."""
        if self._room is not None:
            return self._room
        had_ended = self._ended  # a commit sends the last part
        room = self._room = await self._owner.rooms.take()
        if self._ended and not had_ended:
            self._leave_room()
            raise Busy(GIVEN_UP)
        return room

    def _leave_room(self) -> None:
        """Nothing is filled any more."""
        if self._room is not None:
            self._room.leave()
            self._room = None

    async def _bring(self, write: StagedWrite, number: int, part: bytes) -> None:
        try:
            await write.bring(number, part)
        except BlobkeepError as err:
            self._broken = err  # the next write, or the commit, raises it

    async def _sent(self) -> None:
        """Wait until every part is in the bucket. Raises the error of one that could not be sent."""
        if self._sending:
            await asyncio.wait(self._sending)
        if self._broken is not None:
            raise self._broken

    async def _beat(self, write: StagedWrite) -> None:
        """Give signs of life while bytes come in."""
        while True:
            await asyncio.sleep(BEAT_EVERY_S)
            try:
                await write.beat()
            except Claimed:
                self._broken = Unavailable(TAKEN_FOR_DEAD)
                return
            except BlobkeepError as err:
                log.warning("an upload could give no sign of life: %s", err)

    def _must_go_on(self) -> None:
        if self._ended:
            raise Busy(GIVEN_UP)

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._owner.upload_ended(self)
            if self._beating is not None:
                self._beating.cancel()

    async def _give_up(self, reason: str) -> None:
        """Leave what was stored to the gc."""
        self._pieces = []
        self._leave_room()
        for task in list(self._sending):
            task.cancel()
        if self._write is not None:
            with contextlib.suppress(BlobkeepError):  # the gc finds it by its age
                await self._write.give_up(reason)
            self._owner.given_up(self._write)


async def facts_of_body(content: Content, body: bytes, sha256: bytes) -> Facts:
    """Of a small body that is here whole. `sha256`: empty if it is not known."""
    begun_ns = time.time_ns()
    if len(body) <= _HASHED_AT_ONCE_BYTES:
        sha256, crcs = checksum.sums_of(body, sha256)
    else:
        sha256, crcs = await _sums_of([body], len(body), sha256)
    return _facts_of(content, begun_ns, len(body), sha256, NO_ATTRIBUTES, crcs=crcs)


def _facts_of(
    content: Content,
    begun_ns: int,
    size: int,
    sha256: bytes,
    attributes: Mapping[str, str],
    *,
    crcs: bytes,
    sums_crc: int | None = None,
    part_bytes: int = 0,
) -> Facts:
    origin = content.origin
    return Facts(
        size=size,
        sha256=sha256,
        begun_ns=begun_ns,
        modified_ns=origin.modified_ns if origin is not None else time.time_ns(),
        history=list(origin.history) if origin is not None else [],
        type=content.type,
        encoding=content.encoding,
        metadata={**content.metadata, **attributes},
        crcs=crcs,
        sums_crc=sums_crc,
        part_bytes=part_bytes,
    )


async def _sums_of(pieces: Sequence[bytes], size: int, sha256: bytes = b"") -> tuple[bytes, bytes]:
    """checksum.sums_of, in a thread where it takes long."""
    if size <= _HASHED_AT_ONCE_BYTES:
        return checksum.sums_of(b"".join(pieces), sha256)
    return await asyncio.to_thread(_sums_of_pieces, pieces)


def _sums_of_pieces(pieces: Sequence[bytes]) -> tuple[bytes, bytes]:
    hasher = Hasher()
    for piece in pieces:
        hasher.update(piece)
    return hasher.sha256(), hasher.crcs()
