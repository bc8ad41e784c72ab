"""Copying and moving a blob by its bytes, over any store: for engines that have no shorter way."""

from __future__ import annotations

import contextlib

from common.errors import Busy, NotFound
from services.store import UPLOAD_ID, Blob, Condition, Content, Store


def content_of_copy(blob: Blob, said: Content | None) -> Content:
    """What is said of the bytes of `blob` from now on, for a copy of it: `said`, or the same as before.

    What front ends keep of the bytes (names that begin with a dot) stays true, but for UPLOAD_ID.
    """
    kept = {
        name: value
        for name, value in blob.metadata.items()
        if name != UPLOAD_ID and (said is None or name.startswith("."))
    }
    if said is None:
        return Content(blob.type, blob.encoding, kept)
    return Content(said.type, said.encoding, {**said.metadata, **kept})


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

    A move that ends between its two commits leaves both. One whose source was deleted meanwhile is done; one
    whose source was written meanwhile deletes nothing, and raises Busy.
    """
    reading = await store.open(source)
    try:
        blob = reading.blob
        source_condition(blob, False)
        upload = await store.begin(target, condition, content_of_copy(blob, content), blob.size)
        try:
            async for data in reading.chunks(0, blob.size - 1):
                await upload.write(data)
        except BaseException as err:
            await upload.abort(str(err))
            raise
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
