"""Copies and moves of the local engine: a hard link to the same file, or small bytes written again.

Data never changes once complete (design rule 4), so two blobs may share one file. The gc removes only names.
If the file rots, both blobs are damaged.
"""

from __future__ import annotations

import time
from typing import Protocol

from common.errors import BlobkeepError, Busy, NotFound
from services.copying import NOTHING_TO_COPY, content_of_copy, write_all
from services.engines.local.disk.blob import Blob
from services.engines.local.serving.change import Draft
from services.engines.local.serving.disk_step import disk_step
from services.engines.local.serving.index import is_same
from services.engines.local.serving.joining import JoiningOwner, linked
from services.engines.local.serving.old_record import record_of
from services.engines.local.serving.reading import LocalReading
from services.engines.local.serving.upload import LocalUpload
from services.store import Condition, Content

_TRIES = 8  # each of them only where a write of the source came in between
_WRITTEN = "The source is written all the time: try again in a moment."


class SourceChanged(Busy):
    """The source of a move changed meanwhile. Nothing was done."""

    def __init__(self) -> None:
        super().__init__(_WRITTEN)


class CopiesOwner(JoiningOwner, Protocol):
    """What is needed of the store."""

    async def stat(self, location: str) -> Blob | None: ...

    async def open(self, location: str) -> LocalReading: ...


class SumsOf:
    """See checksum.Checksums."""

    def __init__(self, blob: Blob) -> None:
        self.size = blob.size
        self._blob = blob

    def sha256(self) -> bytes:
        return self._blob.sha256

    def crcs(self) -> bytes:
        return self._blob.crcs


async def copy(
    store: CopiesOwner,
    source: str,
    source_condition: Condition,
    target: str,
    condition: Condition,
    content: Content | None,
    *,
    move: bool = False,
) -> tuple[Blob, bool]:
    """See store.Store.copy. Both halves of a move are one commit."""
    for _ in range(_TRIES):
        blob = await store.stat(source)
        if blob is None:
            raise NotFound(NOTHING_TO_COPY)
        source_condition(blob, False)
        draft = Draft(target, content_of_copy(blob, content))
        if move and source != target:
            draft.source = blob
        try:
            upload = await _upload(store, blob, draft, condition)
            if upload is not None:
                return await upload.commit()
        except SourceChanged:
            pass
    raise Busy(_WRITTEN)


async def _upload(store: CopiesOwner, blob: Blob, draft: Draft, condition: Condition) -> LocalUpload | None:
    """An upload with all bytes of `blob`; None if the source was written meanwhile."""
    if blob.size > store.small_body_bytes:
        store.admit(draft.location, condition, blob.size)
        path = store.data_dir.data(blob.id)
        if not await _is_in_its_folder(store, blob):
            return None
        try:
            upload = await linked(store, path, draft, SumsOf(blob), condition, cuts=False)
        except NotFound:  # collected, or about to be called damaged by who opens it
            (await store.open(blob.location)).close()
            return None
        if upload is not None:
            return await _checked(store, upload, blob)
    reading = await store.open(blob.location)
    try:
        if not is_same(reading.blob, blob):
            return None
        upload = await store.begin_draft(draft, condition, blob.size)
        await write_all(upload, reading.chunks(0, blob.size - 1))
        return upload
    finally:
        reading.close()


async def _is_in_its_folder(store: CopiesOwner, blob: Blob) -> bool:
    """False if its location has another blob by now.

    Raises Busy if somebody exchanged folders: the file would be linked with the checksums of another.
    """
    try:
        await disk_step(store, lambda: record_of(store.data_dir, blob, time.time_ns()))
    except Busy:
        if not is_same(await store.stat(blob.location), blob):
            return False
        raise
    return True


async def _checked(store: CopiesOwner, upload: LocalUpload, blob: Blob) -> LocalUpload | None:
    """`upload`, which has the file of `blob`; None if its location has another blob by now (rule 3)."""
    try:
        if is_same(await store.stat(blob.location), blob):
            return upload
    except BlobkeepError as err:  # it was called damaged meanwhile, say
        await upload.abort(str(err))
        raise
    await upload.abort("the source was written meanwhile")
    return None
