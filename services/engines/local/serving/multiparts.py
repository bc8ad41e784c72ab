"""Uploads in parts of the local engine: parts of one size become a blob by a hard link, without a copy.

Where a part is written: see open_multipart.

If all named parts, from the first on, are in their places, data.raw becomes the blob's: the file gets a
second name, in the folder of a new blob, which is committed like every upload that is whole on disk. Until
the commit is durable the upload stays as it was. Afterwards the blob's attribute UPLOAD_ID says that it is
complete. Otherwise the parts are read, verified, and written as the blob, which costs a copy.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

from sortedcontainers import SortedDict

from common import durable
from common.errors import BlobkeepError, Busy, PartsChanged, SyncFailed, UnknownUpload
from common.process import usable_cpus
from services.engines.local.disk import layout, multipart_folder
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.multipart_folder import Placed
from services.engines.local.recovery.multiparts import Loaded
from services.engines.local.serving.change import Draft
from services.engines.local.serving.damage import LocalDamage
from services.engines.local.serving.disk_step import disk_step
from services.engines.local.serving.hash_turns import HashTurn
from services.engines.local.serving.joined_hash import RottenPart
from services.engines.local.serving.joining import JoiningOwner, joined, linked, stand_in_order
from services.engines.local.serving.open_multipart import OpenMultipart
from services.engines.local.serving.part_upload import OVER, LocalPart
from services.engines.local.serving.upload import LocalUpload
from services.store import NO_ATTRIBUTES, UPLOAD_ID, Condition, Content, Multipart, Part

log = logging.getLogger(__name__)

_STEP_BYTES = 32 << 20  # so much is hashed behind the uploads before others have a thread
_FOLLOWERS = 2  # uploads whose bytes are hashed at the same time


class MultipartsOwner(JoiningOwner, Protocol):
    """What this needs of the store."""

    damage: LocalDamage


class LocalMultiparts:
    """See store.Multiparts. `found`: at the start."""

    def __init__(self, owner: MultipartsOwner, found: Loaded) -> None:
        self._owner = owner
        self._data_dir = owner.data_dir
        self._open: dict[str, OpenMultipart] = {}
        self._sorted: SortedDict = SortedDict()  # (location, id): OpenMultipart
        self._followers = asyncio.Semaphore(_FOLLOWERS)
        self._writing = 0
        self._beside = owner.threads if usable_cpus() > 1 else None
        self._unended: list[Multipart] = []  # complete, and still on disk: an error of the disk
        for upload in found.unended:
            self._end_later(upload)
        for upload, parts in found.under_way:
            one = OpenMultipart(upload, multipart_folder.folder(self._data_dir, upload.id), parts)
            one.may_write_in_place = not multipart_folder.may_be_a_blob(self._data_dir, upload.id)
            self._show(one)

    def writing(self) -> int:
        """How many parts are under way. Asked with each piece of a body."""
        return self._writing

    async def close(self) -> None:
        """End the parts under way; remembered parts stay."""
        for one in list(self._open.values()):
            one.is_ending = True
            if one.following is not None:
                one.following.cancel()
                await asyncio.wait([one.following])
            for part in list(one.writers):
                await part.abort("the server stops")

    async def create_multipart(self, location: str, content: Content) -> Multipart:
        """See store.Multiparts."""
        self._owner.admit(location, _whatever, None)
        begun_ns = time.time_ns()
        upload = Multipart(location, f"{begun_ns:016x}{secrets.token_hex(8)}", content, begun_ns)
        await self._step(lambda: multipart_folder.begin(self._data_dir, upload))
        self._show(OpenMultipart(upload, multipart_folder.folder(self._data_dir, upload.id), {}))
        return upload

    async def find_multipart(self, location: str, upload_id: str) -> Multipart:
        """See store.Multiparts."""
        return self._find(location, upload_id).upload

    async def begin_part(
        self, location: str, upload_id: str, number: int, size: int | None, *, with_sha256: bool = True
    ) -> LocalPart:
        """See store.Multiparts."""
        one = self._find(location, upload_id)
        if one.is_ending:
            raise Busy("This upload is being completed: send no more parts.")
        self._owner.admit(location, _whatever, size, self._owner.uploads(), size or 0)
        place = one.place(number, size)
        part = LocalPart(
            self._owner,
            place,
            partial(self._remember, one),
            partial(self._part_ended, one),
            one.turn_at(place),
            size or 0,
            with_sha256=with_sha256,
            beside=self._beside,
        )
        one.writers.add(part)
        self._writing += 1
        return part

    async def list_parts(self, location: str, upload_id: str) -> Sequence[Part]:
        """See store.Multiparts."""
        parts = self._find(location, upload_id).parts
        return [parts[number].part for number in sorted(parts)]

    async def list_multiparts(self, prefix: str, after: tuple[str, str], limit: int) -> Sequence[Multipart]:
        """See store.Multiparts."""
        start = max(after, (prefix, ""))
        found: list[Multipart] = []
        for key in self._sorted.irange(start, inclusive=(start != after, True)):
            if len(found) == limit or not key[0].startswith(prefix):
                break
            found.append(self._sorted[key].upload)
        return found

    async def complete_multipart(
        self,
        location: str,
        upload_id: str,
        parts: Sequence[Part],
        condition: Condition,
        attributes: Mapping[str, str] = NO_ATTRIBUTES,
    ) -> tuple[Blob, bool]:
        """See store.Multiparts."""
        one = self._find(location, upload_id)
        async with _Ending(one):
            named = _named(one, parts)
            size = sum(part.size for part in named)
            self._owner.admit(location, condition, size)
            said = {**attributes, UPLOAD_ID: upload_id}
            try:
                upload = await self._upload_of(one, named, condition)
            except RottenPart as err:
                self._drop_rotten(one, err)
                raise
            # The blob alone says that the upload is complete, so nobody may replace it until the upload is
            # over: after a kill it could else be completed again, and undo what came after the first time.
            return await upload.commit(said, lambda: self._end_completed(one))

    async def abort_multipart(self, location: str, upload_id: str) -> None:
        """See store.Multiparts."""
        one = self._find(location, upload_id)
        async with _Ending(one):
            await self._end(one)

    async def sweep(self, older_than_s: float) -> int:
        """See store.Multiparts."""
        for upload in tuple(self._unended):
            if await _is_ended(upload.id, self._owner.damage.settle(upload.location)):
                self._unended.remove(upload)
        before_ns = time.time_ns() - int(older_than_s * 1e9)
        swept = 0
        for one in [one for one in self._open.values() if one.newest_ns() < before_ns]:
            upload = one.upload
            swept += await _is_ended(upload.id, self.abort_multipart(upload.location, upload.id))
        return swept

    # --- inside ---

    async def _step(self, step: Callable[[], object]) -> None:
        await disk_step(self._owner, step)

    def _find(self, location: str, upload_id: str) -> OpenMultipart:
        one = self._open.get(upload_id)
        if one is None or one.is_over or one.upload.location != location:
            raise UnknownUpload(OVER)
        return one

    def _show(self, one: OpenMultipart) -> None:
        self._open[one.upload.id] = one
        self._sorted[one.upload.location, one.upload.id] = one
        self._follow(one)

    async def _end(self, one: OpenMultipart) -> None:
        """End the upload, durably. After an error other than SyncFailed it still exists."""
        if one.following is not None:
            one.following.cancel()
            await asyncio.wait([one.following])
        try:
            await self._step(lambda: multipart_folder.end(self._data_dir, one.upload.id))
        except BlobkeepError:
            self._follow(one)
            raise
        self._forget(one)

    async def _end_completed(self, one: OpenMultipart) -> None:
        # If the disk refuses, the blob is there, and says whose parts it has: it stays until that is done.
        if not await _is_ended(one.upload.id, self._end(one)):
            self._end_later(one.upload)
            self._forget(one)

    def _end_later(self, upload: Multipart) -> None:
        data_dir = self._data_dir
        self._unended.append(upload)
        self._owner.damage.do_first(upload.location, lambda: multipart_folder.end(data_dir, upload.id))

    def _forget(self, one: OpenMultipart) -> None:
        one.is_over = True
        del self._open[one.upload.id]
        del self._sorted[one.upload.location, one.upload.id]

    def _part_ended(self, one: OpenMultipart, part: LocalPart) -> None:
        one.writers.remove(part)
        self._writing -= 1
        place = part.place
        remembered = one.parts.get(place.number)
        if place.slot_bytes and (remembered is None or remembered.id != place.part_id):
            one.used.discard(place.number)

    async def _remember(self, one: OpenMultipart, placed: Placed, turn: HashTurn) -> None:
        async with one.lock:
            if one.is_over:
                raise UnknownUpload(OVER)
            await self._step(lambda: multipart_folder.append(self._data_dir, one.upload.id, placed))
            if turn.sha256 is not None:
                async with one.hash_lock:  # nobody reads for long where this part is the next
                    one.hash.offer(placed, turn.begins, turn.sha256)
            old = one.parts.get(placed.number)
            one.parts[placed.number] = placed
        if old is not None and not old.is_in_place:
            await self._step(lambda: _remove(f"{one.path}/{old.file}"))
        self._follow(one)

    async def _upload_of(
        self, one: OpenMultipart, named: Sequence[Placed], condition: Condition
    ) -> LocalUpload:
        """The whole upload made of the parts. Raises RottenPart."""
        draft = Draft(one.upload.location, one.upload.content)
        if stand_in_order(named, one.parts.values()) and not _is_behind(named, one.writers):
            while await self._advance(one):
                pass
            if one.hash.ids == [part.id for part in named]:
                path = f"{one.path}/{layout.DATA_NAME}"
                upload = await linked(self._owner, path, draft, one.hash, condition, cuts=True)
                if upload is not None:
                    return upload
        return await joined(self._owner, one.path, draft, named, condition)

    # --- hashing behind the uploads ---

    def _follow(self, one: OpenMultipart) -> None:
        idle = one.following is None or one.following.done()
        if idle and not one.is_ending and len(one.hash.ids) + 1 in one.parts:
            one.following = asyncio.get_running_loop().create_task(self._hash_behind(one))

    async def _hash_behind(self, one: OpenMultipart) -> None:
        try:
            async with self._followers:
                one.order.reads(True)
                while not one.is_ending and await self._advance(one):
                    pass
        except RottenPart as err:
            self._drop_rotten(one, err)
        except Exception as err:  # noqa: BLE001 - who completes meets the same, and is told
            log.warning("upload %s: its parts cannot be read yet: %s", one.upload.id, err)
        finally:
            one.order.reads(False)

    async def _advance(self, one: OpenMultipart) -> bool:
        async with one.hash_lock:
            if not one.hash.has_next(one.parts):
                return False
            return await disk_step(self._owner, lambda: one.hash.advance(one.parts, _STEP_BYTES))

    def _drop_rotten(self, one: OpenMultipart, err: RottenPart) -> None:
        part, upload = err.part, one.upload
        log.error("upload %s of %r: part %d is damaged on disk", upload.id, upload.location, part.number)
        if one.parts.get(part.number) == part:  # else it was sent again while it was read
            del one.parts[part.number]
            one.used.discard(part.number)


class _Ending:
    """While inside, no part is written or remembered. If the upload does not end, parts go on afterwards."""

    def __init__(self, one: OpenMultipart) -> None:
        self._one = one

    async def __aenter__(self) -> None:
        one = self._one
        await one.lock.acquire()
        try:
            if one.is_over:
                raise UnknownUpload(OVER)
            one.is_ending = True
            for part in list(one.writers):
                await part.stop("its upload is complete, or given up")
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        self._one.is_ending = False
        self._one.lock.release()


def _named(one: OpenMultipart, parts: Sequence[Part]) -> list[Placed]:
    """The parts on disk. Raises PartsChanged."""
    named = []
    for part in parts:
        placed = one.parts.get(part.number)
        if placed is None or placed.id != part.id:
            raise PartsChanged("A part was sent again meanwhile, or is not there any more.")
        named.append(placed)
    return named


def _is_behind(named: Sequence[Placed], writers: Iterable[LocalPart]) -> bool:
    """Whether a part behind `named` waits to be remembered, which happens if the completion fails."""
    return any(part.place.slot_bytes and part.place.number > len(named) for part in writers)


async def _is_ended(upload_id: str, ending: Awaitable[None]) -> bool:
    """Whether `ending` ends it. What the disk refuses for one keeps no other there. Raises SyncFailed."""
    try:
        await ending
    except SyncFailed:
        raise
    except UnknownUpload:
        return False  # it ended meanwhile
    except BlobkeepError as err:
        log.error("upload %s could not be ended, which is tried again: %s", upload_id, err)
        return False
    return True


def _remove(path: str) -> None:
    try:
        durable.remove_file(path)
    except OSError as err:
        log.warning("an old part could not be removed: it goes with its upload: %s", err)


def _whatever(blob: object, damaged: bool) -> None:
    """A condition for a write of no blob."""
