"""Removes, in the background after a start, what a dead process left in the folders of live blobs."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from common.errors import BlobkeepError
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.leftovers import remove_leftovers
from services.engines.local.serving.group_commit import GroupCommit
from services.engines.local.serving.index import Index

log = logging.getLogger(__name__)

# To look into 64 folders takes 0.6 ms, for which the next commit may wait: 60,000 blobs in 20 s.
_AT_ONCE = 64
_PAUSE_S = 0.02


async def remove_leftovers_slowly(data_dir: Layout, index: Index, committer: GroupCommit) -> None:
    """Remove them for all blobs that are live now, a few at a time, between the batches of the committer."""
    removed = 0
    at = ""
    while some := await index.after(at, _AT_ONCE):
        at = some[-1].location

        def step(some: list[Blob] = some) -> int:
            return remove_leftovers(data_dir, [blob.id for blob in some if blob.id in index.blobs.ids])

        with contextlib.suppress(OSError, BlobkeepError):  # it is only litter
            removed += await committer.between(step)
        await asyncio.sleep(_PAUSE_S)
    if removed:
        log.info("removed %d temporary files that a process had left when it died", removed)
