"""Copying and moving a blob by its bytes, over any store: for engines that have no shorter way."""

from __future__ import annotations

from common.errors import Busy
from services.store import Blob, Condition, Content, Store, content_of_copy


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

    A move that ends between its two commits leaves both. One whose source was written meanwhile deletes
    nothing, and raises Busy.
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
        await store.delete(source, _if_still(blob))
    return done


def _if_still(copied: Blob) -> Condition:
    def judge(blob: Blob | None, damaged: bool) -> None:
        if damaged or (blob is not None and blob.version != copied.version):
            raise Busy("It was copied, but the source was written meanwhile, and stays: move it again.")

    return judge
