"""The usage of the store, from what it has in memory."""

from __future__ import annotations

from collections.abc import Iterable

from services.engines.local.serving.damage import LocalDamage
from services.engines.local.serving.garbage import Garbage
from services.engines.local.serving.index import Index
from services.engines.local.serving.upload import LocalUpload
from services.store import Usage


def usage_of(
    index: Index,
    damage: LocalDamage,
    garbage: Garbage,
    uploads: Iterable[LocalUpload],
    *,
    under_way: int,
    ids: int,
    read_errors: int,
) -> Usage:
    """See store.Usage. `under_way`: uploads of all kinds; `ids`: how many a directory can have."""
    staged = [upload.size for upload in uploads if upload.is_staged]
    failures, failure_bytes = garbage.waiting()
    live = len(index.blobs.ids)
    return Usage(
        blobs=live,
        bytes=index.blobs.bytes,
        damaged=len(index.damaged) + len(damage.nameless),
        uploads=under_way,
        ids_left=ids - live,
        ids=ids,
        pending=len(staged),
        pending_bytes=sum(staged),
        failures=failures,
        failure_bytes=failure_bytes,
        unread=len(index.unreadable) + len(index.unadopted) + len(index.unplaced),
        read_errors=read_errors,
        kept=garbage.kept,
        kept_bytes=garbage.kept_bytes,
    )
