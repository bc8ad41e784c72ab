"""The feed: transitions of blobs, counted, and kept in memory for the dashboard.

The engine reports each transition (about 1 µs each); the workers' self reports add what they did.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter, deque

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
        self._kept: deque[tuple[int, BlobHistory, int] | FeedEntry] = deque(maxlen=KEPT)

    def told(self, blob: BlobHistory, since: int) -> None:
        """A blob went through `blob.events[since:]`, and is now as `blob` says."""
        events = blob.events
        is_logged = log.isEnabledFor(logging.DEBUG)
        for at in range(since, len(events)):
            self.number += 1
            self._kept.append((self.number, blob, at))
            self.counts[WORD_OF_CODE[events[at].code]] += 1
            if is_logged:
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
        missing = self.number - number
        kept = list(self._kept)[-missing:] if missing > 0 else []
        return [one if isinstance(one, FeedEntry) else _entry(*one) for one in kept]

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


def _entry(number: int, blob: BlobHistory, at: int) -> FeedEntry:
    event = blob.events[at]
    return FeedEntry(number, event.at, blob.id, blob.location, WORD_OF_CODE[event.code], event.message)
