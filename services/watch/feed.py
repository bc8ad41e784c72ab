"""The feed: transitions of blobs, counted, and kept in memory for the dashboard.

The engine reports each transition (about 1 µs each); the workers' self reports add what they did.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Iterator
from itertools import count

import msgspec

from common import logs
from common.self_report import NamedBlob
from common.states import WORD_OF_CODE
from common.times import rfc3339, unix_ns
from services.engine import BlobHistory

log = logging.getLogger(__name__)

KEPT = 300  # entries: the past that a dashboard shows when it is opened


class FeedEntry(msgspec.Struct, frozen=True):
    """One line. `number` grows by one; `state`: OK, Pending, Failure, Removed, Damaged."""

    number: int
    time: str
    id: int | str
    location: str | None
    state: str
    text: str


class Feed:
    """An engine.Listener. Used from the event loop alone."""

    def __init__(self) -> None:
        self.number = 0
        self.counts: Counter[str] = Counter()  # transitions since the start, by state
        # Of a blob that was told: it, the number of its last entry, and where the first is in its history.
        self._kept: deque[tuple[BlobHistory, int, int] | FeedEntry] = deque(maxlen=KEPT)

    def told(self, blob: BlobHistory, since: int) -> None:
        """A blob went through `blob.events[since:]`, and is now as `blob` says."""
        events = blob.events
        counts = self.counts
        for event in events[since:] if since else events:
            counts[WORD_OF_CODE[event.code]] += 1
        self.number += len(events) - since
        self._kept.append((blob, self.number, since))
        if log.isEnabledFor(logging.DEBUG):
            for at in range(since, len(events)):
                _log(blob, at)

    def removed(self, blobs: tuple[NamedBlob, ...], count: int) -> None:
        """The gc removed `count` blobs, among them these."""
        for blob in blobs:
            self._add(blob, "Removed")
        self.counts["Removed"] += count

    def damaged(self, blob: NamedBlob) -> None:
        """A blob was found damaged, and is no longer served."""
        self._add(blob, "Damaged")
        self.counts["Damaged"] += 1

    def after(self, number: int) -> list[FeedEntry]:
        """The kept entries after that number, oldest first."""
        missing = min(self.number - number, KEPT)
        found: list[FeedEntry] = []
        for one in reversed(self._kept):  # the newest first
            if len(found) >= missing:
                break
            found += (one,) if isinstance(one, FeedEntry) else _newest_first(*one)
        return found[:missing][::-1] if missing > 0 else []

    def _add(self, blob: NamedBlob, state: str) -> None:
        self.number += 1
        now = rfc3339(time.time_ns())
        self._kept.append(FeedEntry(self.number, now, blob.id, blob.location, state, blob.text))


def _log(blob: BlobHistory, at: int) -> None:
    """One line a transition, as the original wrote them with -D, and how long the state before lasted."""
    event = blob.events[at]
    word = WORD_OF_CODE[event.code]
    seconds = None
    with contextlib.suppress(ValueError, OverflowError):  # a time that another program wrote may be none
        seconds = (unix_ns(event.at) - unix_ns(blob.events[at - 1].at)) / 1e9 if at else None
    after = "" if seconds is None else f", after {seconds:.6f} s"
    about = logs.about(blob.id, blob.location, seconds)
    log.debug("blob %s of %r: %s - %s%s", blob.id, blob.location, word, event.message, after, extra=about)


def _newest_first(blob: BlobHistory, last_number: int, since: int) -> Iterator[FeedEntry]:
    for number, event in zip(count(last_number, -1), reversed(blob.events[since:]), strict=False):
        word = WORD_OF_CODE[event.code]
        yield FeedEntry(number, event.at, blob.id, blob.location, word, event.message)
