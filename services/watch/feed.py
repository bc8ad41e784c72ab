"""The feed: what happens to blobs as it happens, kept in memory for who looks, and counted.

The store tells it of each transition (about 1 µs each); the workers' self reports add what they did.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque

import msgspec

from common import logs
from common.self_report import NamedBlob
from common.states import CODE, WORD_OF_CODE, State
from common.times import rfc3339, unix_ns
from services.engines.local.disk.record import BlobRecord

log = logging.getLogger(__name__)

KEPT = 300  # entries: what a dashboard that is opened now sees of the past

_FAILURE = CODE[State.FAILURE]


class Entry(msgspec.Struct, frozen=True):
    """One line. `number` grows by one; `state`: OK, Pending, Failure, Removed, Damaged."""

    number: int
    time: str
    id: int
    location: str | None
    state: str
    text: str


class Waiting(msgspec.Struct):
    """Blobs that went to Failure within one second of `time.time()`, and the bytes of their data."""

    second: int
    blobs: int
    bytes: int


class Feed:
    """Used from the event loop alone."""

    def __init__(self) -> None:
        self.number = 0
        self.counts: Counter[str] = Counter()  # transitions since the start, by state
        self._kept: deque[tuple[int, BlobRecord, int] | Entry] = deque(maxlen=KEPT)
        self._left = 0  # what the gc tried to remove and could not
        self._failed: deque[Waiting] = deque()  # those that no pass of the gc has had a chance to remove

    def told(self, record: BlobRecord, since: int) -> None:
        """A blob went through `record.events[since:]`, and is now as `record` says."""
        events = record.events
        is_logged = log.isEnabledFor(logging.DEBUG)
        for at in range(since, len(events)):
            self.number += 1
            self._kept.append((self.number, record, at))
            self.counts[WORD_OF_CODE[events[at].code]] += 1
            if is_logged:
                _log(record, at)
        if record.state is State.FAILURE:
            self.failed(1, record.size)

    def removed(self, blobs: tuple[NamedBlob, ...], count: int) -> None:
        """The gc removed `count` blobs, among them these."""
        for blob in blobs:
            self._add(blob, "Removed")
        self.counts["Removed"] += count

    def damaged(self, blob: NamedBlob) -> None:
        """A blob was found damaged, and is no longer served."""
        self._add(blob, "Damaged")
        self.counts["Damaged"] += 1

    def after(self, number: int) -> list[Entry]:
        """What is kept of the entries after that number, oldest first."""
        missing = self.number - number
        kept = list(self._kept)[-missing:] if missing > 0 else []
        return [one if isinstance(one, Entry) else _entry(*one) for one in kept]

    # --- what waits for the gc ---

    def failed(self, blobs: int, size_bytes: int) -> None:
        """So many blobs went to Failure just now."""
        second = int(time.time())
        if self._failed and self._failed[-1].second == second:
            self._failed[-1].blobs += blobs
            self._failed[-1].bytes += size_bytes
        elif blobs:
            self._failed.append(Waiting(second, blobs, size_bytes))

    def collected(self, pass_began_s: float, left: int) -> None:
        """A pass of the gc that began then is over: what was in Failure by then is gone, but for `left`."""
        self._left = left
        while self._failed and self._failed[0].second + 1 <= pass_began_s:
            self._failed.popleft()

    def waiting(self) -> tuple[int, int]:
        """(blobs, bytes) in Failure that wait for the gc."""
        return self._left + sum(one.blobs for one in self._failed), sum(one.bytes for one in self._failed)

    def _add(self, blob: NamedBlob, state: str) -> None:
        self.number += 1
        now = rfc3339(time.time_ns())
        self._kept.append(Entry(self.number, now, blob.id, blob.location, state, blob.text))


def _log(record: BlobRecord, at: int) -> None:
    """One line a transition, as the original wrote them with -D, and how long the state before lasted."""
    event = record.events[at]
    word = WORD_OF_CODE[event.code]
    seconds = (unix_ns(event.at) - unix_ns(record.events[at - 1].at)) / 1e9 if at else None
    after = "" if seconds is None else f", after {seconds:.6f} s"
    about = logs.about(record.id, record.location, seconds)
    log.debug("blob %d of %r: %s - %s%s", record.id, record.location, word, event.message, after, extra=about)


def _entry(number: int, record: BlobRecord, at: int) -> Entry:
    event = record.events[at]
    return Entry(number, event.at, record.id, record.location, WORD_OF_CODE[event.code], event.message)
