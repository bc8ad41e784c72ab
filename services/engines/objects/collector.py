"""The gc process: pass after pass over the state objects. Any number may run, and die at any request.

A pass costs one LIST for each thousand state objects, and some four requests for each one that it collects. A
state object that a pass left is read again when it changed, or 20 s later: the LIST shows ETag, age and
state.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec

from common.errors import BlobkeepError, Unavailable
from common.worker import Worker
from services.engines.objects import framing, keys
from services.engines.objects import txn as txns
from services.engines.objects.bucket import Listed, pages
from services.engines.objects.collect import Collecting, Result
from services.engines.objects.commit import Tools

log = logging.getLogger("gc")

# An upload gives a sign of life every 20 s. Without one for so long it may be killed. That is always safe,
# but the upload is lost if its server was only slow.
SILENT_S = 60.0
# A Pending one that is younger is not looked at: most writes are over by then.
LOOK_AFTER_S = 3.0
_LOOK_AGAIN_S = 20.0
_AT_ONCE = 16


class Collector(Worker):
    """One gc on one bucket. `reading_s`: how long replaced data is kept for those who read it."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Tools]],
        interval_s: float,
        reports_dir: str,
        *,
        reading_s: float,
        silent_s: float = SILENT_S,
    ) -> None:
        super().__init__("gc", interval_s, reports_dir)
        self._connect = connect
        self._reading_s = reading_s
        self._silent_s = silent_s
        self._loop = asyncio.new_event_loop()
        self._tools: Tools | None = None
        # State objects that a pass left, by txn: their ETag, and when to look again. Only saves requests.
        self._later: dict[str, tuple[str, float]] = {}

    def run_once(self) -> str | None:
        """See Worker. Raises Unavailable."""
        return self._loop.run_until_complete(self._pass())

    async def _pass(self) -> str | None:
        """One pass; its log line."""
        if self._tools is None:
            self._tools = await self._connect()
        collecting = Collecting(self._tools, self._reading_s)
        results: Counter[Result] = Counter()
        seen: set[str] = set()
        async for page in pages(self._tools.bucket, keys.GC):
            due = [listed for listed in page if txns.is_txn(_txn(listed)) and self._is_due(listed)]
            seen.update(listed.key for listed in page)
            for at in range(0, len(due), _AT_ONCE):
                if self.should_stop():
                    break
                batch = due[at : at + _AT_ONCE]
                for result in await asyncio.gather(*(self._one(collecting, listed) for listed in batch)):
                    results[result] += 1
        self._later = {key: later for key, later in self._later.items() if key in seen}
        collected = results[Result.COLLECTED]
        self.about_pass = msgspec.structs.replace(
            self.about_pass,
            found=results.total(),
            removed=collected,
            errors=results[Result.UNREADABLE],
        )
        if not collected and not results[Result.UNREADABLE]:
            return None
        text = f"collected {collected}, removed {collecting.removed_objects} data objects"
        return f"{text}, left {results[Result.UNREADABLE]} that cannot be read"

    def _is_due(self, listed: Listed) -> bool:
        etag, until = self._later.get(listed.key, ("", 0.0))
        if etag == listed.etag and time.monotonic() < until:
            return False
        return framing.is_marked(listed.size) or _age_s(listed) >= LOOK_AFTER_S

    async def _one(self, collecting: Collecting, listed: Listed) -> Result:
        txn = _txn(listed)
        try:
            result = await collecting.settle(txn, silent=_age_s(listed) >= self._silent_s)
        except Unavailable:
            raise
        except BlobkeepError as err:
            log.error("the state object %s was left: %s", txn, err)
            result = Result.UNREADABLE
        if result in (Result.READ, Result.ALIVE):
            self._later[listed.key] = listed.etag, time.monotonic() + _LOOK_AGAIN_S
        if result is Result.UNREADABLE:
            log.error("the state object %s, or its pointer, cannot be read: it is left as it is", txn)
        return result


def _txn(listed: Listed) -> str:
    return listed.key.removeprefix(keys.GC)


def _age_s(listed: Listed) -> float:
    """Since its last change, by the store's clock and ours."""
    return (time.time_ns() - listed.modified_ns) / 1e9
