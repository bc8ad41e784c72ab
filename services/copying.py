"""Copies and moves a blob by its bytes, over any store: for engines without a shorter way."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable

from common.checksum import Bytes
from common.errors import Busy, NotFound
from services.store import UPLOAD_ID, Blob, Condition, Content, Store, Upload

NOTHING_TO_COPY = "There is no such blob to copy."


def content_of_copy(blob: Blob, said: Content | None) -> Content:
    """The attributes of a copy of `blob`: those of the request (`said`), or the blob's.

    Attributes of front ends (names that begin with a dot) stay, except UPLOAD_ID, and those that `said` has
    anew: an empty one is left out.
    """
    kept = {
        name: value
        for name, value in blob.metadata.items()
        if name != UPLOAD_ID and (said is None or name.startswith("."))
    }
    if said is None:
        return Content(blob.type, blob.encoding, kept)
    both = {**kept, **said.metadata}
    return Content(
        said.type, said.encoding, {name: text for name, text in both.items() if text or name[0] != "."}
    )


async def write_all(upload: Upload, pieces: AsyncIterable[Bytes]) -> None:
    """Write all pieces. Whatever keeps them from that ends the upload, and is raised."""
    try:
        async for data in pieces:
            await upload.write(data)
    except BaseException as err:
        await upload.abort(str(err))
        raise


async def copy_bytes(
    store: Store,
    source: str,
    source_condition: Condition,
    target: str,
    condition: Condition,
    content: Content | None,
    *,
    move: bool = False,
) -> tuple[Blob, bool]:
    """See Store.copy: the bytes are read, verified, and written, in one commit; a move deletes in another.

    A move that is cut between its two commits leaves both blobs. If the source was deleted meanwhile, the
    move is done. If the source was written meanwhile, nothing is deleted, and Busy is raised.
    """
    try:
        reading = await store.open(source)
    except NotFound as err:
        raise NotFound(NOTHING_TO_COPY) from err
    try:
        blob = reading.blob
        source_condition(blob, False)
        upload = await store.begin(target, condition, content_of_copy(blob, content), blob.size)
        await write_all(upload, reading.chunks(0, blob.size - 1))
        done = await upload.commit()
    finally:
        reading.close()
    if move and source != target:
        with contextlib.suppress(NotFound):  # another was quicker, and it is gone: what was asked for holds
            await store.delete(source, _if_still(blob))
    return done


def _if_still(copied: Blob) -> Condition:
    def judge(blob: Blob | None, damaged: bool) -> None:
        if damaged or (blob is not None and blob.version != copied.version):
            raise Busy("It was copied, but the source was written meanwhile, and stays: move it again.")

    return judge
