"""When blobs expire: by a time of their own (`Blob-Expires`), else by the option `expire` for their prefix.

From that second on nobody can read an expired blob. The server deletes it a little later: it goes through its
blobs all the time, at a bounded rate, so it needs no list of times in memory.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

from common.errors import BlobkeepError
from common.states import MSG_EXPIRED
from services.engines.local.disk.blob import Blob
from services.engines.local.serving.index import Index
from services.rules.expiry import ByPrefix, own_time_s
from services.rules.locations import is_record
from services.rules.metadata import EXPIRES

log = logging.getLogger(__name__)

_MARK = b'"' + EXPIRES.encode() + b'"'  # in the metadata of a blob with a time of its own
# 250 blobs in half a second: 100 µs of work, and 65,536 blobs take two minutes. Each deletion costs a commit,
# and there are no more deletions than that.
PAGE = 250
PAUSE_S = 0.5


class Expiry:
    """`by_prefix`: (prefix, seconds from when it was written). The longest prefix wins."""

    def __init__(self, by_prefix: tuple[tuple[str, float], ...]) -> None:
        self._by_prefix = ByPrefix(by_prefix)
        self._has_rules = bool(by_prefix)

    def at_s(self, blob: Blob) -> float | None:
        """The Unix time at which `blob` expires; None: never."""
        if blob.packed.find(_MARK) >= 0 and (own := own_time_s(blob.metadata)) is not None:
            return own
        if not self._has_rules:
            return None
        return self._by_prefix.time_s(blob.location, blob.modified_ns)

    def is_over(self, blob: Blob) -> bool:
        """Whether `blob` has expired. Costs 0.1 µs without the option; each read pays it."""
        # `in` would first try it as a number, and make an exception of that: 0.3 µs.
        if not self._has_rules and blob.packed.find(_MARK) < 0:
            return False
        at_s = self.at_s(blob)
        return at_s is not None and at_s <= time.time()

    def over(self, blobs: list[Blob]) -> list[Blob]:
        """Those of them that have expired."""
        if not self._has_rules:  # no call for each of what has no time
            blobs = [blob for blob in blobs if blob.packed.find(_MARK) >= 0]
        return [blob for blob in blobs if self.is_over(blob)]


class ExpiryOwner(Protocol):
    """What is needed of the store."""

    expiry: Expiry
    index: Index

    @property
    def is_stopping(self) -> bool: ...

    async def end(self, blob: Blob, why: str) -> None: ...


async def end_expired(store: ExpiryOwner, *, pause_s: float = PAUSE_S) -> None:
    """Until the server stops: delete expired blobs, in the usual way, so the feed shows them as deletes."""
    after = ""
    while not store.is_stopping:
        await asyncio.sleep(pause_s)
        blobs = await store.index.after(after, PAGE)
        after = blobs[-1].location if len(blobs) == PAGE else ""
        for blob in store.expiry.over(blobs):
            if not is_record(blob.location):
                try:
                    await store.end(blob, MSG_EXPIRED)
                except BlobkeepError as err:  # a full disk, say: it stays hidden, and is tried again
                    log.warning("blob %d of %r expired, and stays for now: %s", blob.id, blob.location, err)
                    break
