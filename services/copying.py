"""Copying a blob by its bytes, over any store: for engines that have no shorter way."""

from __future__ import annotations

from services.store import Blob, Condition, Content, Store


async def copy_bytes(
    store: Store,
    source: str,
    source_condition: Condition,
    target: str,
    condition: Condition,
    content: Content | None,
) -> tuple[Blob, bool]:
    """See Store.copy: the bytes are read, verified, and written, in one commit."""
    reading = await store.open(source)
    try:
        blob = reading.blob
        source_condition(blob, False)
        said = content or Content(blob.type, blob.encoding, blob.metadata)
        upload = await store.begin(target, condition, said, blob.size)
        try:
            async for data in reading.chunks(0, blob.size - 1):
                await upload.write(data)
        except BaseException as err:
            await upload.abort(str(err))
            raise
        return await upload.commit()
    finally:
        reading.close()
