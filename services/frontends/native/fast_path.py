"""Answers plain requests without a RequestHandler: the same rules, the same bytes, a fifth of the work.

Plain requests (for a whole blob, or with a body of a declared length) are answered here. All others go to the
Application, whose handlers define the behaviour. A test compares the two, header for header, over all
requests (tests/http/test_fast_path.py).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from tornado.httputil import HTTPMessageDelegate, HTTPServerConnectionDelegate

from common.options import Config
from services.access.decisions import Access, Action
from services.frontends.native.errors import answer_without_handler
from services.frontends.native.headers import FORWARDED_PREFIX, PREFIX, sent_write_outcome
from services.frontends.native.opening import Opening
from services.frontends.native.quick_reads import (
    QuickReads,
    authorization_of,
    empty_answer,
    is_plain,
    is_plain_target,
    ok_lines,
    whole_answer,
)
from services.frontends.native.sending import Sending
from services.frontends.native.uploading import PlainWrite, Uploading
from services.frontends.native.write_conditions import write_condition
from services.frontends.shortcut import Shortcut, WholeRequest
from services.http1 import CHUNKED, Exchange
from services.rules.listing import follows_links, wants_html
from services.rules.media_types import upload_media_type
from services.store import Condition, Content, Store
from services.watch.request_log import RequestLog

_READ = Action.READ  # as a name of this module: see quick_reads.py
# The rights to check. Any write but a DELETE may replace a blob, if only a damaged one: without that right
# the request goes to a handler.
_ACTIONS = {"POST": Action.UPDATE, "PUT": Action.UPDATE, "DELETE": Action.DELETE}


class FastPath(QuickReads, Shortcut):
    """Answers plain requests; `app` gets the rest. `is_anothers`: see QuickReads."""

    def __init__(
        self,
        app: HTTPServerConnectionDelegate,
        store: Store,
        access: Access,
        requests: RequestLog,
        config: Config,
        is_anothers: Callable[[str | None], bool] | None = None,
    ) -> None:
        QuickReads.__init__(self, store, access, requests, config, is_anothers)
        Shortcut.__init__(self, app)
        self._store = store
        self._small_bytes = config.small_body_bytes
        self._guesses = config.guess_type
        self._conditions = {
            method: write_condition(method, {}, config.put_creates) for method in ("POST", "PUT", "DELETE")
        }

    def take(self, exchange: Exchange) -> HTTPMessageDelegate | None:
        """See Shortcut."""
        head = exchange.head
        condition = self._conditions.get(head.start_line.method)
        if condition is not None:
            location = self._written_location(exchange)
            if location is None:
                return None
            return self._write(exchange, location, condition)
        if head.body_bytes:
            return None
        if self._store.is_remote:
            return self._opening(exchange)
        # The connection has asked for a quick answer already, unless it is to close after this one.
        answer = None if self.declined is head else self.quick_answer(head, exchange.context)
        return (
            self._sending(exchange) if answer is None else _Answering(exchange, answer[0], bytes(answer[1]))
        )

    def _write(self, exchange: Exchange, location: str, condition: Condition) -> HTTPMessageDelegate:
        store, head = self._store, exchange.head
        said = head.block.fields.get("Content-Type")
        content = Content(upload_media_type(said[0] if said else None, location, guesses=self._guesses))
        is_small = exchange.body_is_here and head.body_bytes <= self._small_bytes
        kind = _Writing if is_small else Uploading
        return kind(exchange, store, location, condition, content, self._answered)

    def _opening(self, exchange: Exchange) -> Opening | None:
        """A plain GET from an engine that always waits; None if a handler must judge."""
        head = exchange.head
        if head.start_line.method != "GET" or not exchange.sends_directly:
            return None
        location = self.read_location(head)
        access = self._access
        if not location or not (access.is_open or access.permits(_READ, location, authorization_of(head))):
            return None
        # Who would be shown a folder where there is no blob gets a handler.
        fields = head.block.fields
        if _is_shown_folders(",".join(fields.get("User-Agent", ())), ",".join(fields.get("Accept", ()))):
            return None
        return Opening(exchange, self._store, location, self.known_fields_of, self._answered)

    def _sending(self, exchange: Exchange) -> Sending | None:
        """A plain GET of a larger blob that can be opened without waiting; None if a handler must judge.

        For requests that `quick_answer` did not answer.
        """
        head = exchange.head
        location: str = head.memo
        if not location or head.start_line.method != "GET" or not exchange.sends_directly:
            return None
        if not self._access.permits(_READ, location, authorization_of(head)):
            return None
        reading = self._store.open_nowait(location)
        if reading is None:
            return None
        return Sending(exchange, reading, ok_lines() + self.fields_of(reading.blob), self._answered)

    def _written_location(self, exchange: Exchange) -> str | None:
        """The location of a plain write; None if a handler must judge."""
        head = exchange.head
        method, target, _ = head.start_line
        location = target[len(PREFIX) :]
        if (
            head.body_bytes == CHUNKED
            or (method == "DELETE" and head.body_bytes)
            or not is_plain_target(target)
            or not self._allows(head.host)
            or not is_plain(head.block, writing=True)
        ):
            return None
        access = self._access
        permitted = access.is_open or access.permits(_ACTIONS[method], location, authorization_of(head))
        return location if permitted else None

    def _answered(self, exchange: Exchange, status: int, began_s: float) -> None:
        user = "-" if self._requests.access is None else self._user(exchange.head)
        self._requests.answered_exchange(exchange, status, began_s, user)


@functools.lru_cache(64)
def _is_shown_folders(agent: str, accept: str) -> bool:
    return wants_html(accept, otherwise=follows_links(agent))


class _Answering(HTTPMessageDelegate):
    """A request whose answer is known, on a connection that closes after it."""

    def __init__(self, exchange: Exchange, head: bytes, body: bytes) -> None:
        self._exchange = exchange
        self._answer = head, body

    def finish(self) -> None:
        """See HTTPMessageDelegate."""
        self._exchange.respond(*self._answer)


class _Writing(PlainWrite, WholeRequest):
    """One POST or PUT of a small body that has come, or one DELETE."""

    async def _answer(self) -> None:
        head = self._exchange.head
        method = head.start_line.method
        body = b""
        try:
            if method == "DELETE":
                await self._store.delete(self._location, self._condition)
                status, lines = 200, b""
            else:
                blob, replaced = await self._store.write_whole(
                    self._location, self._condition, self._content, self._body
                )
                shown = head.block.fields.get(FORWARDED_PREFIX)
                prefix = shown[0] if shown else None
                status, lines = sent_write_outcome(method, blob, replaced=replaced, forwarded_prefix=prefix)
            answer = empty_answer(status, lines)
        except Exception as err:  # noqa: BLE001 - answered, and logged where it is none of ours
            status, fields, body = answer_without_handler(head, err)
            answer, body = whole_answer(status, fields, body)
        self._exchange.respond(answer, body)
        self._answered(self._exchange, status, self._began)
