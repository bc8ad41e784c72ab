"""Joins the parts of an upload: a hard link to their file, or their bytes written again."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

from common import checksum, durable
from common.checksum import CHUNK_BYTES, Bytes, Checksums
from common.errors import NotFound
from common.ours import open_ours, read_at
from services.copying import write_all
from services.engines.local.disk.layout import DATA_TEMP_NAME
from services.engines.local.disk.multipart_folder import Placed
from services.engines.local.disk.record import BlobRecord
from services.engines.local.serving.change import Draft, first_records
from services.engines.local.serving.disk_step import disk_step
from services.engines.local.serving.joined_hash import RottenPart
from services.engines.local.serving.upload import LocalUpload, UploadOwner
from services.store import Condition

# EACCES, EPERM: another user's file, which we may read, but not link, or not sync afterwards.
_NO_LINKS = frozenset({errno.EACCES, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV})


class JoiningOwner(UploadOwner, Protocol):
    """What is needed of the store."""

    def adopt(self, upload: LocalUpload) -> None: ...

    def admit(
        self,
        location: str,
        condition: Condition,
        size: int | None,
        under_way: int = 0,
        room_bytes: int = 0,
    ) -> None: ...

    async def begin_draft(self, draft: Draft, condition: Condition, size: int | None) -> LocalUpload: ...


def stand_in_order(named: Sequence[Placed], parts: Iterable[Placed]) -> bool:
    """Whether `named`, of all `parts`, are the beginning of data.raw, with no other part behind them.

    What is behind them is cut off. It must not be a part that is still needed if this completion fails.
    """
    at = 0
    for number, part in enumerate(named, 1):
        if not part.is_in_place or part.number != number or part.offset != at:
            return False
        at += part.size
    return not any(part.is_in_place and part.number > len(named) for part in parts)


async def linked(
    owner: JoiningOwner,
    path: str,
    draft: Draft,
    sums: Checksums,
    condition: Condition,
    *,
    cuts: bool,
    only: os.stat_result | None = None,
) -> LocalUpload | None:
    """A staged upload whose data.raw is the file `path`, with these `sums`; only to be committed.

    Nobody may write to that file any more (design rule 4). None if it cannot be linked, so that its bytes
    must be copied. `cuts`: cut off what is behind the end; None if the file has another name already. Raises
    NotFound if another file has taken its place, such as one other than `only`.
    """
    staged = await disk_step(owner, lambda: _stage(owner, path, draft, sums.size, cuts=cuts, only=only))
    if staged is None:
        return None
    upload = LocalUpload.of_staged(owner, draft, condition, *staged, sums)
    owner.adopt(upload)
    return upload


def _stage(
    owner: JoiningOwner, path: str, draft: Draft, size: int, *, cuts: bool, only: os.stat_result | None
) -> tuple[BlobRecord, int] | None:
    """In a thread: give the file a second, temporary name in the folder of a new blob, and open it for the
    sync that begins the commit. The folder has all of the blob's bytes, so Pending need not be shown."""
    data_dir = owner.data_dir
    blob_id = owner.ids.take()
    fd = -1
    try:
        pending = first_records(draft, blob_id, owner.sequence.next(), time.time_ns(), is_update=False)
        fd = durable.open_in_place(path)
        found = os.fstat(fd)
        if only is not None and not os.path.samestat(found, only):
            raise NotFound("Another blob has its id by now.")
        if cuts and found.st_size != size:
            if found.st_nlink > 1:  # it is a blob's already: see multipart_folder.may_be_a_blob
                raise OSError(errno.EMLINK, "it has another name and another length", path)
            durable.cut(fd, size)
        name = f"{data_dir.folder(blob_id)}/{DATA_TEMP_NAME}"
        durable.link(path, name)
        if os.stat(name).st_ino != found.st_ino:  # ids come back (design rule 3)
            raise NotFound("It was written meanwhile.")
    except BaseException as err:
        if fd >= 0:
            os.close(fd)
        owner.given_up.discard(blob_id)
        if isinstance(err, OSError) and err.errno in _NO_LINKS:
            return None
        if isinstance(err, FileNotFoundError):
            raise NotFound("It is not there any more.") from err
        raise
    return pending, fd


async def joined(
    owner: JoiningOwner, folder: str, draft: Draft, named: Sequence[Placed], condition: Condition
) -> LocalUpload:
    """The parts, verified and written one after the other as an upload. Raises RottenPart."""
    size = sum(part.size for part in named)
    upload = await owner.begin_draft(draft, condition, size)
    for part in named:
        await write_all(upload, _read(owner, f"{folder}/{part.file}", part))
    return upload


async def _read(owner: JoiningOwner, path: str, part: Placed) -> AsyncIterator[Bytes]:
    """The bytes of a part, each MiB verified."""
    crcs = bytes.fromhex(part.crcs)
    fd = await disk_step(owner, lambda: open_ours(path))
    try:
        for chunk in range(checksum.chunk_count(part.size)):
            at = chunk * CHUNK_BYTES
            data = bytearray(min(CHUNK_BYTES, part.size - at))
            got = await disk_step(owner, lambda: read_at(fd, memoryview(data), part.offset + at))  # noqa: B023
            if got != len(data) or checksum.crc(data) != checksum.unpack_crc(crcs, chunk):
                raise RottenPart(part)
            yield data
    finally:
        os.close(fd)
