"""Each server hides expired blobs from clients, by its own clock. The recovery worker deletes them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from common.errors import NotFound
from services.engines.objects.commit import Judge, Tools, change_at_once
from services.engines.objects.pointer import Known, ObjectBlob
from services.rules.expiry import ByPrefix, own_time_s


class Expiry:
    """`by_prefix`: see services/rules/expiry.py."""

    def __init__(self, by_prefix: Sequence[tuple[str, float]] = ()) -> None:
        self._by_prefix = ByPrefix(by_prefix)
        self._is_rare = not by_prefix  # only a blob's own metadata may say that it expires

    def at_s(self, blob: ObjectBlob) -> float | None:
        """The Unix time at which `blob` expires; None: never."""
        own = own_time_s(blob.metadata) if blob.metadata else None
        return own if own is not None else self._by_prefix.time_s(blob.location, blob.modified_ns)

    def is_over(self, blob: ObjectBlob) -> bool:
        """Whether `blob` has expired."""
        at_s = self.at_s(blob)
        return at_s is not None and at_s <= time.time()

    def live(self, known: Known) -> ObjectBlob | None:
        """The blob that clients see; None if there is none, or it has expired."""
        blob = known.blob
        if blob is None or (self._is_rare and not blob.facts.metadata):
            return blob
        return None if self.is_over(blob) else blob

    async def end(self, tools: Tools, blob: ObjectBlob) -> bool:
        """Delete `blob`, which has expired; False if its location was written or deleted meanwhile.

        Raises Unavailable.
        """
        try:
            await change_at_once(tools, blob.location, _is_still(blob), None)
        except NotFound:
            return False
        return True


def _is_still(blob: ObjectBlob) -> Judge:
    def judge(known: Known) -> None:
        if known.blob is None or known.blob.version != blob.version:
            raise NotFound("It is another blob by now.")

    return judge
