r"""Uploads in parts over any store: each part is a blob of its own until the upload is complete.

    "\0s3/upload/<location>\0<upload id>"     the record of the upload, with the attributes of the object
    "\0s3/part/<upload id>/<number>"          a part; a part that is sent again replaces it

So parts are as durable as every blob, survive a kill at any moment, and need no support by an engine.
Completing reads the parts, verified, and writes the object, which costs a copy. After that the record is
deleted first. So a kill in between is safe: parts without a record are swept.

A completion may be cut after its commit, and others may replace or delete the object before it is sent again.
So the record gets the attempt before its commit, where the store can tell later what became of it
(services/attempts.py). A completion that took effect has the same answer again, and changes nothing. The same
goes for an abort: an attempt of which a server is still about to do the commit is stopped first.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence

import msgspec

from common.checksum import Bytes
from common.errors import Damaged, NotFound, PartsChanged, PreconditionFailed, UnknownUpload
from common.transfer import LentRoom
from services.attempts import Attempt, Attempting, TookEffect
from services.frontends.s3.names import RECORD
from services.read_all import all_blobs, all_bytes, all_pieces
from services.store import (
    NO_ATTRIBUTES,
    UPLOAD_ID,
    Blob,
    Condition,
    Content,
    Multipart,
    Multiparts,
    Part,
    PartUpload,
    Reading,
    Store,
    Upload,
    unconditional,
)

_UPLOADS = RECORD + "upload/"
_PARTS = RECORD + "part/"
_ORPHAN_AFTER_S = 3600.0  # until then a part without an upload may be one that is just being deleted
_TYPE = "application/json"


class _Begun(msgspec.Struct, frozen=True):
    """The body of a record."""

    type: str
    encoding: str
    metadata: dict[str, str]
    begun_ns: int
    attempts: list[Attempt] = []  # to complete it


class _Completed(msgspec.Struct, frozen=True):
    """See store.Blob: an object that was replaced or deleted before its completion was answered.

    Its SHA-256 is not known here.
    """

    location: str
    version: str
    size: int
    modified_ns: int
    type: str
    encoding: str
    metadata: Mapping[str, str]
    id: str = ""
    sha256: bytes = b""


def parts_of(store: Store) -> Multiparts:
    """The uploads in parts of a store: the store's own implementation, if it has one."""
    return store.multiparts or PartsInBlobs(store)


class PartsInBlobs:
    """See services.store.Multiparts, for a store that has none of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create_multipart(self, location: str, content: Content) -> Multipart:
        """See Multiparts."""
        begun_ns = time.time_ns()
        upload_id = f"{begun_ns:016x}{secrets.token_hex(8)}"
        said = _Begun(content.type, content.encoding, dict(content.metadata), begun_ns)
        await self._store.write_whole(
            _record(location, upload_id), unconditional, Content(_TYPE), msgspec.json.encode(said)
        )
        return Multipart(location, upload_id, content, begun_ns)

    async def find_multipart(self, location: str, upload_id: str) -> Multipart:
        """See Multiparts."""
        said, _ = await self._read(location, upload_id)
        return Multipart(location, upload_id, _content(said), said.begun_ns)

    async def begin_part(
        self, location: str, upload_id: str, number: int, size: int | None, *, with_sha256: bool = True
    ) -> PartUpload:
        """See Multiparts. A part has its SHA-256 in any case, as every blob."""
        await self._check(location, upload_id)
        upload = await self._store.begin(_part(upload_id, number), unconditional, Content(), size)
        return _PartInBlob(self, upload, location, upload_id)

    async def check_begun(self, location: str, upload_id: str) -> None:
        """Raise UnknownUpload if the upload is over."""
        await self._check(location, upload_id)

    async def list_parts(self, location: str, upload_id: str) -> Sequence[Part]:
        """See Multiparts."""
        await self._check(location, upload_id)
        return [_part_of(blob) async for blob in self._parts_of(upload_id)]

    async def list_multiparts(self, prefix: str, after: tuple[str, str], limit: int) -> Sequence[Multipart]:
        """See Multiparts."""
        start = _record(*after) if after[0] else ""
        page = await self._store.list(_UPLOADS + prefix, "", start, limit)
        found = []
        for blob in page.blobs:
            with contextlib.suppress(UnknownUpload):  # it ended meanwhile
                found.append(await self.find_multipart(*_named(blob)))
        return found

    async def complete_multipart(
        self,
        location: str,
        upload_id: str,
        parts: Sequence[Part],
        condition: Condition,
        attributes: Mapping[str, str] = NO_ATTRIBUTES,
    ) -> tuple[Blob, bool]:
        """See Multiparts."""
        said, version = await self._read(location, upload_id)
        size = sum(part.size for part in parts)
        kept = {**attributes, UPLOAD_ID: upload_id}
        makes = hashlib.sha256(msgspec.json.encode([size, kept], order="sorted")).hexdigest()
        try:
            upload, ready = await self._begin(location, upload_id, condition, said, version, size, makes)
            async with contextlib.aclosing(self._opened(upload_id, parts)) as opened:
                done = await _write(upload, opened, ready, kept)
        except TookEffect as err:
            if err.attempt.makes not in ("", makes):  # it was completed with other parts
                await self._remove(location, upload_id)
                raise _unknown() from None
            done = await self._found(location, said, size, kept, err.attempt.write)
        await self._remove(location, upload_id)
        return done

    async def abort_multipart(self, location: str, upload_id: str) -> None:
        """See Multiparts."""
        store = self._store
        while True:
            said, version = await self._read(location, upload_id)
            try:
                if isinstance(store, Attempting):
                    await store.stop_attempts(location, said.attempts, in_doubt=True)
                await store.delete(_record(location, upload_id), _only(version))
                break
            except _AnotherVersion:  # meanwhile somebody began to complete it
                continue
            except TookEffect:
                await self._remove(location, upload_id)
                raise _unknown() from None
        await self._remove(location, upload_id)

    async def sweep(self, older_than_s: float) -> int:
        """Remove uploads without a request for so long, and parts without an upload; how many."""
        swept, living = 0, set()
        now_ns = time.time_ns()
        async for blob in all_blobs(self._store, _UPLOADS):
            location, upload_id = _named(blob)
            newest_ns = blob.modified_ns
            async for part in self._parts_of(upload_id):
                newest_ns = max(newest_ns, part.modified_ns)
            if now_ns - newest_ns > older_than_s * 1e9:
                await self._remove(location, upload_id)
                swept += 1
            else:
                living.add(upload_id)
        async for blob in all_blobs(self._store, _PARTS):
            upload_id = blob.location.removeprefix(_PARTS).partition("/")[0]
            if upload_id not in living and now_ns - blob.modified_ns > _ORPHAN_AFTER_S * 1e9:
                await self._drop(blob.location)
                swept += 1
        return swept

    # --- inside ---

    async def _read(self, location: str, upload_id: str) -> tuple[_Begun, str]:
        """The record, and its version. Raises UnknownUpload."""
        try:
            reading = await self._store.open(_record(location, upload_id))
        except NotFound:
            raise _unknown() from None
        try:
            body = await all_bytes(reading)
        finally:
            reading.close()
        return msgspec.json.decode(body, type=_Begun), reading.blob.version

    async def _begin(
        self,
        location: str,
        upload_id: str,
        condition: Condition,
        said: _Begun,
        version: str,
        size: int,
        makes: str,
    ) -> tuple[Upload, Callable[[], Awaitable[None]]]:
        """The upload that becomes the object, and what must be done just before its commit."""
        store = self._store
        if not isinstance(store, Attempting):
            return await store.begin(location, condition, _content(said), size), _nothing
        await store.check_attempts(location, said.attempts)
        upload, begun = await store.begin_attempt(location, condition, _content(said), size)
        attempt = msgspec.structs.replace(begun, makes=makes)

        async def remember() -> None:
            """Not earlier: until now it stops no other request that completes the same upload."""
            there, seen = said, version
            while True:
                added = msgspec.structs.replace(there, attempts=[*there.attempts, attempt])
                try:
                    await store.write_whole(
                        _record(location, upload_id),
                        _only(seen),
                        Content(_TYPE),
                        msgspec.json.encode(added),
                    )
                    break
                except _AnotherVersion:  # another request completes it, too
                    there, seen = await self._read(location, upload_id)
            await store.stop_attempts(location, there.attempts)

        return upload, remember

    async def _found(
        self, location: str, said: _Begun, size: int, attributes: Mapping[str, str], write: str
    ) -> tuple[Blob, bool]:
        """What an earlier attempt to complete it made: as it is, or as it was."""
        with contextlib.suppress(Damaged):
            there = await self._store.stat(location)
            if there is not None and there.version == write:
                return there, False
        metadata = {**said.metadata, **attributes}
        return _Completed(location, write, size, said.begun_ns, said.type, said.encoding, metadata), False

    async def _check(self, location: str, upload_id: str) -> None:
        if await self._store.stat(_record(location, upload_id)) is None:
            raise _unknown()

    def _parts_of(self, upload_id: str) -> AsyncIterator[Blob]:
        return all_blobs(self._store, f"{_PARTS}{upload_id}/")

    async def _opened(self, upload_id: str, parts: Sequence[Part]) -> AsyncGenerator[Reading, None]:
        """The parts, one open at a time. Raises PartsChanged."""
        for part in parts:
            try:
                reading = await self._store.open(_part(upload_id, part.number))
            except NotFound:
                raise PartsChanged("A part is not there any more.") from None
            try:
                if reading.blob.version != part.id:
                    raise PartsChanged("A part was sent again meanwhile.")
                yield reading
            finally:
                reading.close()

    async def _remove(self, location: str, upload_id: str) -> None:
        await self._drop(_record(location, upload_id))
        async for blob in self._parts_of(upload_id):
            await self._drop(blob.location)

    async def _drop(self, location: str) -> None:
        with contextlib.suppress(NotFound):
            await self._store.delete(location, unconditional)


class _PartInBlob:
    """See store.PartUpload."""

    def __init__(self, parts: PartsInBlobs, upload: Upload, location: str, upload_id: str) -> None:
        self._parts = parts
        self._upload = upload
        self._location = location
        self._upload_id = upload_id

    def lend(self) -> LentRoom | None:
        return self._upload.lend()

    def takes(self, data: Bytes) -> bool:
        return self._upload.takes(data)

    async def write(self, data: Bytes) -> None:
        await self._upload.write(data)

    async def sha256(self) -> bytes:
        return await self._upload.sha256()

    async def commit(self, attributes: Mapping[str, str] = NO_ATTRIBUTES) -> Part:
        try:
            await self._parts.check_begun(self._location, self._upload_id)
        except UnknownUpload:
            await self._upload.abort("its upload is over")
            raise
        return _part_of((await self._upload.commit(attributes))[0])

    async def abort(self, reason: str) -> None:
        await self._upload.abort(reason)


class _AnotherVersion(PreconditionFailed):
    """The record is not the one that was read."""


async def _write(
    upload: Upload,
    parts: AsyncIterator[Reading],
    ready: Callable[[], Awaitable[None]],
    attributes: Mapping[str, str],
) -> tuple[Blob, bool]:
    """Write the bytes of `parts`, verified, and commit. `ready`: called before that."""
    try:
        async for reading in parts:
            async for data in all_pieces(reading):
                await upload.write(bytes(data))
        await ready()
    except BaseException as err:
        await upload.abort(str(err))
        raise
    return await upload.commit(attributes)


def _content(said: _Begun) -> Content:
    return Content(said.type, said.encoding, said.metadata)


def _only(version: str) -> Condition:
    """The condition that the record is the one that was read. Raises UnknownUpload, _AnotherVersion."""

    def judge(blob: Blob | None, damaged: bool) -> None:
        if blob is None:
            raise _unknown()
        if blob.version != version:
            raise _AnotherVersion

    return judge


async def _nothing() -> None:
    pass


def _record(location: str, upload_id: str) -> str:
    return f"{_UPLOADS}{location}\0{upload_id}"


def _part(upload_id: str, number: int) -> str:
    return f"{_PARTS}{upload_id}/{number:05}"


def _named(record: Blob) -> tuple[str, str]:
    """Location and id of the upload that a record is about."""
    location, _, upload_id = record.location.removeprefix(_UPLOADS).rpartition("\0")
    return location, upload_id


def _part_of(blob: Blob) -> Part:
    number = int(blob.location.rpartition("/")[2])
    return Part(number, blob.version, blob.size, blob.sha256, blob.modified_ns, blob.metadata)


def _unknown() -> UnknownUpload:
    return UnknownUpload("The specified upload does not exist: it may have been completed or aborted.")
