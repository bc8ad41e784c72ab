"""A small write that is there with its head, answered without a RequestHandler: create, update or delete.

The fields and texts are those of BlobWriting and BaseHandler; what sets the pace is the store's commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from http.client import responses
from time import perf_counter, time

from tornado.httputil import HTTPMessageDelegate

from common.errors import BlobkeepError
from services.frontends.native import errors
from services.frontends.native.headers import Fields, sent, sent_common
from services.frontends.native.location import FORWARDED_PREFIX, location_field
from services.http1 import Exchange
from services.rules.answers import error_body
from services.rules.conditions import etag
from services.rules.media_types import upload_media_type
from services.store import Condition, Content, Store

log = logging.getLogger("http")

Answered = Callable[[Exchange, int, float], None]
"""Counts an answer: its exchange, its status, when its request began (perf_counter)."""


class FastWrite(HTTPMessageDelegate):
    """One POST, PUT or DELETE of `location`. Once it is whole, the client's leaving stops nothing."""

    __slots__ = (
        "_answered",
        "_began",
        "_body",
        "_condition",
        "_exchange",
        "_guesses",
        "_location",
        "_store",
        "_task",
    )

    def __init__(
        self,
        exchange: Exchange,
        store: Store,
        location: str,
        condition: Condition,
        answered: Answered,
        *,
        guesses: bool,
    ) -> None:
        self._began = perf_counter()
        self._exchange = exchange
        self._store = store
        self._location = location
        self._condition = condition
        self._answered = answered
        self._guesses = guesses  # the media type, where the client gave none
        self._body = b""

    def data_received(self, chunk: bytes) -> None:
        """See HTTPMessageDelegate."""
        self._body += chunk

    def finish(self) -> None:
        """See HTTPMessageDelegate."""
        # Kept: the loop itself has only a weak reference.
        self._task = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            status, fields = await self._result()
            body = b""
        except BlobkeepError as err:
            status = errors.status_of(err)
            fields = errors.headers_of(err)
            body = error_body(status, str(err))
        except Exception:
            method, target, _ = self._exchange.head.start_line
            log.exception("%s %s failed", method, target)
            status, fields = 500, []
            body = error_body(500, errors.UNEXPECTED)
        if body:
            fields = [*fields, ("Content-Type", "application/json")]
        start_line = b"HTTP/1.1 %d %s\r\n" % (status, responses[status].encode())
        end = b"Content-Length: %d\r\n\r\n" % len(body)
        self._exchange.respond(start_line + sent_common(int(time())) + sent(fields) + end, body)
        self._answered(self._exchange, status, self._began)

    async def _result(self) -> tuple[int, Fields]:
        head = self._exchange.head
        method = head.start_line.method
        if method == "DELETE":
            await self._store.delete(self._location, self._condition)
            return 200, []
        said = head.headers.get("Content-Type")
        media_type = upload_media_type(said, self._location, guesses=self._guesses)
        blob, was_there = await self._store.write_whole(
            self._location, self._condition, Content(media_type), self._body
        )
        fields = [("ETag", etag(blob.sha256))]
        if was_there and method == "PUT":
            return 200, fields
        return 201, [
            *fields,
            ("Location", location_field(self._location, head.headers.get(FORWARDED_PREFIX))),
        ]
