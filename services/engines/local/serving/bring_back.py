"""Undelete: makes a new blob on the data of a kept one, committed like every other write.

Nothing of the kept blob changes: it stays in Failure until its time comes (design rule 2). Its data.raw gets
a second name in the folder of the new one, which has another id. So the gc, which needs no lock to remove the
kept one, never meets an id that is live again (docs/decisions/not-before.md).
"""

from __future__ import annotations

import os

from common.errors import NotFound
from services.copying import write_all
from services.engines.local.disk.blob import Blob, served
from services.engines.local.disk.kept_blob import OpenBlob
from services.engines.local.serving.change import Draft
from services.engines.local.serving.copies import SumsOf
from services.engines.local.serving.joining import linked
from services.engines.local.serving.reading import Reports
from services.engines.local.serving.store import LocalStore
from services.engines.local.serving.upload import LocalUpload
from services.rules.metadata import EXPIRES
from services.store import Condition, Content

GONE_TEXT = "Nothing of this blob is kept any more: the gc has removed it."


async def bring_back(
    store: LocalStore, kept: OpenBlob, condition: Condition, message: str, reports: Reports
) -> tuple[Blob, bool]:
    """Make the bytes of `kept` its location's blob; returns and raises as store.Upload.commit.

    `message` begins its history. Raises NotFound if the gc was quicker; Damaged.
    """
    old = served(kept.record)
    metadata = dict(old.metadata)
    if store.expiry.is_over(old):
        metadata.pop(EXPIRES, None)  # else it would be gone again at once
    draft = Draft(old.location, Content(old.type, old.encoding, metadata), message=message)
    store.admit(old.location, condition, old.size)
    path = store.data_dir.data(old.id)
    try:
        upload = await linked(store, path, draft, SumsOf(old), condition, cuts=False, only=os.fstat(kept.fd))
    except NotFound as err:
        raise NotFound(GONE_TEXT) from err
    return await (upload or await _copied(store, kept, old, draft, condition, reports)).commit()


async def _copied(
    store: LocalStore, kept: OpenBlob, old: Blob, draft: Draft, condition: Condition, reports: Reports
) -> LocalUpload:
    """The same without hard links: its bytes are verified and written again."""
    upload = await store.begin_draft(draft, condition, old.size)
    reading = store.reading(old, kept.take_fd(), reports)
    try:
        await write_all(upload, reading.chunks(0, old.size - 1))
    finally:
        reading.close()
    return upload
