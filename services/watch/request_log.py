"""Counts every answered request for /metrics and the dashboard, and passes it to the access log.

Costs about 1 µs a request (measured by tests/unit/test_request_log.py): plain numbers, only on the event
loop. Text that a client chooses freely (the target, an unknown method) never becomes a key.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter

from tornado.web import RequestHandler

from services.http1 import Exchange, RequestContext, RequestHead
from services.watch.access_log import AccessLog

# Upper bounds of the latency histogram, in seconds. From a read out of memory to an upload over a phone.
BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
OTHER = "other"  # any other method, and what ended before its method was known


@dataclass(slots=True)
class Tally:
    """The answers to one method. `statuses`: requests by status; `buckets`: by the first of BOUNDS_S that
    they reach; `seconds`: of all together; bytes are those of bodies.
    """

    statuses: dict[int, int] = field(default_factory=dict)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def requests(self) -> int:
        """How many, whatever their status."""
        return sum(self.buckets)


class RequestLog:
    """Counts since the start of the process, by method. `access`: where each request is told, if anywhere."""

    def __init__(self, access: AccessLog | None = None) -> None:
        self.access = access
        self.tallies: dict[str, Tally] = {}
        self.refusals: dict[int, int] = {}  # by status: what the connection answered by itself

    def answered(
        self,
        method: str,
        status: int,
        target: str,
        seconds: float,
        bytes_in: int,
        bytes_out: int,
        remote: str,
        headers: Mapping[str, str] | None = None,
        version: str = "HTTP/1.1",
        user: str = "-",
    ) -> None:
        """One request was answered. Bytes are those of the bodies; `headers`, the request's, are looked at
        for the access log alone, and so may be left out where that is off."""
        self.count(method, status, seconds, bytes_in, bytes_out)
        if self.access is not None:
            headers = headers or {}
            referer, agent = headers.get("Referer", ""), headers.get("User-Agent", "")
            asked = f"{method} {target} {version}"
            self.access.tell(remote, user, asked, status, bytes_out, referer, agent, seconds)

    def answered_exchange(self, exchange: Exchange, status: int, began_s: float, user: str = "-") -> None:
        """The same for an exchange of our own connection that was answered. `began_s`: its perf_counter at
        the beginning."""
        method, target, version = exchange.head.start_line
        seconds, bytes_out = perf_counter() - began_s, exchange.body_bytes_out
        if self.access is None:
            self.count(method, status, seconds, exchange.body_bytes_in, bytes_out)
        else:
            said = (exchange.remote_ip, exchange.head.headers, version, user)
            self.answered(method, status, target, seconds, exchange.body_bytes_in, bytes_out, *said)

    def answered_quickly(
        self,
        head: RequestHead,
        context: RequestContext,
        status: int,
        bytes_out: int,
        began_s: float,
        user: str = "-",
    ) -> None:
        """The same for a request without a body that needed no exchange (see http1.HTTPServer)."""
        method, target, version = head.start_line
        seconds = perf_counter() - began_s
        if self.access is None:
            self.count(method, status, seconds, 0, bytes_out)
        else:
            said = (head.headers, version, user)
            self.answered(method, status, target, seconds, 0, bytes_out, context.remote_ip, *said)

    def count(self, method: str, status: int, seconds: float, bytes_in: int, bytes_out: int) -> None:
        """The same without the access log, for a caller that knows that there is none."""
        tally = self.tallies.get(method) or self._tally_of(method)
        statuses = tally.statuses
        statuses[status] = statuses.get(status, 0) + 1
        tally.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        tally.seconds += seconds
        tally.bytes_in += bytes_in
        tally.bytes_out += bytes_out

    def count_many(self, method: str, status: int, count: int, seconds: float, bytes_out: int) -> None:
        """As `count`, of requests without bodies that took `seconds` together."""
        tally = self.tallies.get(method) or self._tally_of(method)
        tally.statuses[status] = tally.statuses.get(status, 0) + count
        tally.buckets[bisect_left(BOUNDS_S, seconds / count)] += count
        tally.seconds += seconds
        tally.bytes_out += bytes_out

    def handled(self, handler: RequestHandler) -> None:
        """The same for a Tornado handler: an Application's `log_function`."""
        request = handler.request
        received: int | None = getattr(request.connection, "body_bytes_in", None)
        self.answered(
            request.method or "",
            handler.get_status(),
            request.uri or "",
            0.0 if getattr(handler, "ENDLESS", False) else request.request_time(),
            _length(request.headers) if received is None else received,
            _sent_bytes(handler),
            request.remote_ip or "-",
            request.headers,
            request.version,
            getattr(handler, "user", "-"),
        )

    def add(self, method: str, tally: Tally) -> None:
        """Requests that another process has answered and logged."""
        mine = self.tallies.get(method) or self._tally_of(method)
        for status, count in tally.statuses.items():
            mine.statuses[status] = mine.statuses.get(status, 0) + count
        mine.buckets = [one + other for one, other in zip(mine.buckets, tally.buckets, strict=True)]
        mine.seconds += tally.seconds
        mine.bytes_in += tally.bytes_in
        mine.bytes_out += tally.bytes_out

    def take(self) -> tuple[dict[str, Tally], dict[int, int]]:
        """The counts by method, and the refusals; counting starts again from 0."""
        taken = self.tallies, self.refusals
        self.tallies, self.refusals = {}, {}
        return taken

    def refused(self, method: str, target: str, status: int, remote: str) -> None:
        """The connection answered by itself: 400, 408, 413, 431, 503 ... Empty where it was not known yet."""
        self.refusals[status] = self.refusals.get(status, 0) + 1
        if self.access is not None:
            # With a version, for those who parse the line.
            asked = f"{method} {target} HTTP/1.1" if method else "-"
            self.access.tell(remote, "-", asked, status, 0, "", "", 0.0)

    def _tally_of(self, method: str) -> Tally:
        return self.tallies.setdefault(method if method in METHODS else OTHER, Tally())


def _sent_bytes(handler: RequestHandler) -> int:
    counted: int | None = getattr(handler.request.connection, "body_bytes_out", None)
    if counted is not None:
        return counted
    return 0 if handler.request.method == "HEAD" else _length(handler._headers)


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else 0
