"""Whole answers to plain GETs that clients repeat byte for byte, sent while they are valid (http1/turns.py).

Each was made once, by the code that answers all plain reads (quick_reads.py), and has a mark of its origin.
Before it is sent again the mark is checked: it is valid until the location's blob or any rights change
(docs/decisions/readers.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.engine import Marks
from services.frontends.native.quick_reads import QuickReads, ok_lines
from services.http1 import RequestHead
from services.watch.request_log import RequestLog

_MAX_BODY_BYTES = 16 << 10  # for larger ones the copy costs more than this saves
_MAX_BYTES = 8 << 20
_SHARE = 8  # no more than this part of the option `hot_bytes`
_MOST_FIELDS_BYTES = 4 << 10  # beside the body, with what an entry costs
_ENTRY_BYTES = 300  # what an answer costs beside its bytes

Ready = tuple[int, int, bytes, int]
"""The mark's two numbers; what follows `ok_lines` in the answer; how much of it is body."""


class ReadyAnswers:
    """See http1.turns.ReadyAnswers. `heads`: what the server remembers of heads that were answered at once.
    `hot_bytes`: the option.

    Without an access log alone: it has a line for each request.
    """

    def __init__(
        self,
        quick: QuickReads,
        requests: RequestLog,
        heads: Mapping[bytes, RequestHead],
        hot_bytes: int = _MAX_BYTES * _SHARE,
    ) -> None:
        self._quick = quick
        self._requests = requests
        self._heads = heads
        self._marks: Marks | None = None
        self._stands: Callable[[int, int, int], bool] = _nothing_stands
        self._rights = 0  # under which all of these were judged
        self._ready: dict[bytes, Ready] = {}
        self._max_bytes = self._left_bytes = min(_MAX_BYTES, hot_bytes // _SHARE)
        self._first = b""  # of an answer that is sent in this turn
        self._count = 0  # of this turn
        self._body_bytes = 0

    def use(self, marks: Marks | None) -> None:
        """Use these marks from now on, and forget answers with other ones. None: nothing is ready."""
        self._forget_all()
        self._marks = marks
        self._stands = _nothing_stands if marks is None else marks.stands

    def begin_turn(self) -> None:
        """See http1.turns."""
        self._first = ok_lines()

    def answer_to(self, data: bytes) -> bytes | None:
        """See http1.turns. The check of the mark is the last step."""
        ready = self._ready.get(data) or self._make(data)
        if ready is None:
            return None
        at, word, tail, body_bytes = ready
        if not self._stands(at, word, self._rights):
            self._forget(data)
            return None
        self._count += 1
        self._body_bytes += body_bytes
        return self._first + tail

    def end_turn(self, seconds: float) -> None:
        """See http1.turns."""
        if self._count:
            self._requests.count_many("GET", 200, self._count, seconds, self._body_bytes)
            self._count = self._body_bytes = 0

    def _make(self, data: bytes) -> Ready | None:
        """The answer to a request with a head that was answered at once before; None if it is no such GET."""
        marks, head = self._marks, self._heads.get(data)
        if marks is None or head is None or head.start_line.method != "GET" or not head.memo:
            return None
        rights = marks.rights  # before anybody is judged
        mark = marks.mark(location := str(head.memo))
        if mark is None or mark[2] > min(_MAX_BODY_BYTES, self._max_bytes - _MOST_FIELDS_BYTES):
            return None
        answer = self._quick.lasting(head, location)
        if answer is None:
            return None
        if rights != self._rights:
            self._forget_all()
            self._rights = rights
        made = (*mark[:2], *answer)
        self._left_bytes -= _size_of(data, made)
        if self._left_bytes < 0:  # all at once: what is asked for now is made again
            self._forget_all()
            self._left_bytes -= _size_of(data, made)
        self._ready[data] = made
        return made

    def _forget(self, data: bytes) -> None:
        self._left_bytes += _size_of(data, self._ready.pop(data))

    def _forget_all(self) -> None:
        self._ready.clear()
        self._left_bytes = self._max_bytes


def _size_of(data: bytes, ready: Ready) -> int:
    return len(data) + len(ready[2]) + _ENTRY_BYTES


def _nothing_stands(at: int, word: int, rights: int) -> bool:
    return False
