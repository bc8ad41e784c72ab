"""Hot requests answered without a RequestHandler: the same rules, the same bytes, a fifth of the work.

What is plain (a whole blob that is at hand, a small body that has come with its head) is answered here; all
else, every refusal among it, goes to the Application, whose handlers are the contract. A test compares the
two, header for header, over the whole request table (tests/http/test_fast_path.py).
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from http.client import responses
from time import perf_counter, time

from tornado.httputil import HTTPConnection, HTTPMessageDelegate, HTTPServerConnectionDelegate

from common.errors import BlobkeepError
from common.options import Config
from services.access.decisions import Access, Action
from services.frontends.native.errors import answer_to
from services.frontends.native.headers import (
    FORWARDED_PREFIX,
    PREFIX,
    Fields,
    blob_fields,
    outcome,
)
from services.frontends.native.write_conditions import write_condition
from services.http1 import Exchange, FieldBlock, RequestContext, RequestHead
from services.rules.answers import sent, sent_common
from services.rules.cors import origins_of
from services.rules.framed import is_form
from services.rules.locations import MAX_LOCATION_BYTES
from services.rules.media_types import upload_media_type
from services.store import Blob, Condition, Content, Store
from services.watch.request_log import RequestLog

log = logging.getLogger("http")

Answered = Callable[[Exchange, int, float], None]
"""Counts an answer: its exchange, its status, when its request began (perf_counter)."""

# Fields that change what a request means, or what its answer says. Who sends one gets a handler.
_UNPLAIN = frozenset(
    (
        *("Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"),
        *("Expect", "Content-Range", "Content-Encoding", "Repr-Digest", "Content-Digest"),
        *("Origin", "Sec-Fetch-Site", "X-Amz-Content-Sha256"),
        *("Digest", "Content-Md5", "Trailer", "Blob-Copy-From", "Blob-Move-From"),
    )
)
# Fields that are looked at here: what one means that is there twice is for a handler to say.
_ONCE = ("Authorization", "Content-Type", FORWARDED_PREFIX)
# Fields that an upload's blob keeps, or that name another one, beside x-meta-*.
_KEPT = frozenset(("Cache-Control", "Content-Disposition", "Content-Language", "Expires", "Blob-Expires"))
_MAX_HEADS = 4096  # of blobs: about 600 bytes each
_READ = Action.READ  # as a name of this module: to ask an enum for a member costs 90 ns in Python 3.11
# What access is asked for. Any write but a DELETE may replace a blob, if only a damaged one: who may not has
# a handler look.
_ACTIONS = {"POST": Action.UPDATE, "PUT": Action.UPDATE, "DELETE": Action.DELETE}


class FastPath(HTTPServerConnectionDelegate):
    """Answers what is plain; `app` gets the rest. For services.http1 alone: others have no Exchange.

    `is_anothers`: whether a host name belongs to another front end, which means something else by a path.
    """

    def __init__(
        self,
        app: HTTPServerConnectionDelegate,
        store: Store,
        access: Access,
        requests: RequestLog,
        config: Config,
        is_anothers: Callable[[str | None], bool] = lambda host: False,
    ) -> None:
        self._app = app
        self._store = store
        self._access = access
        self._requests = requests
        self._is_anothers = is_anothers if config.s3_hosts else None
        self._small_bytes = config.small_body_bytes
        self._guesses = config.guess_type
        self._cors = sent(origins_of(config.cors_origins).answer_fields(None))
        self._conditions = {
            method: write_condition(method, {}, config.put_creates) for method in ("POST", "PUT", "DELETE")
        }
        self._fields: dict[str, tuple[Blob, bytes]] = {}  # of blobs, by location

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """See HTTPServerConnectionDelegate."""
        assert isinstance(request_conn, Exchange)
        head = request_conn.head
        condition = self._conditions.get(head.start_line.method)
        if condition is not None:
            location = self._written_location(request_conn)
            if location is not None:
                return _Writing(
                    request_conn, self._store, location, condition, self._answered, guesses=self._guesses
                )
        elif not head.body_bytes:
            answer = self.quick_answer(head, request_conn.context)
            if answer is not None:
                return _Answering(request_conn, answer)
        return self._app.start_request(server_conn, request_conn)

    def on_close(self, server_conn: object) -> None:
        """See HTTPServerConnectionDelegate."""
        self._app.on_close(server_conn)

    def quick_answer(self, head: RequestHead, context: RequestContext) -> tuple[bytes, bytes] | None:
        """Head and body of the 200 to a GET or HEAD; None where a handler is to judge. See HTTPServer.

        Costs 2 µs where the body is in memory, and less for what turns out not to be plain.
        """
        began = perf_counter()
        location: str | None = head.memo
        if location is None:
            location = head.memo = self._read_location(head)
        if not location:
            return None
        method, target, version = head.start_line
        access = self._access
        if not access.is_open and not access.permits(_READ, location, _authorization(head)):
            return None
        found = self._store.peek(location, body=method == "GET")
        if found is None:
            return None
        blob, body = found
        known = self._fields.get(location)
        if known is not None and (known[0] is blob or known[0].version == blob.version):
            fields = known[1]
        else:
            fields = self._fields_of(blob)
        requests = self._requests
        if requests.access is None:
            requests.count(method, 200, perf_counter() - began, 0, len(body))
        else:
            requests.answered(
                method,
                200,
                target,
                perf_counter() - began,
                0,
                len(body),
                context.remote_ip,
                head.headers,
                version,
                self._user(head),
            )
        return _ok(int(time())) + fields, body

    def _read_location(self, head: RequestHead) -> str:
        """The location that a plain GET or HEAD names under a host name of this front end's; else empty.

        Depends on the head alone, and on what is given at the start, so it is found once for a head that
        clients repeat. What the index knows is a good location; it stands in a target like this as it is.
        """
        method, target, _ = head.start_line
        plain = method in ("GET", "HEAD") and _is_plain_target(target) and _is_plain(head.block)
        return target[len(PREFIX) :] if plain and self._allows(head.block.host) else ""

    def _allows(self, host: str | None) -> bool:
        """Whether the host name is the native front end's."""
        if self._is_anothers is not None and self._is_anothers(host):
            return False
        hosts = self._access.hosts
        return not hosts.guards or hosts.allows(host)

    def _written_location(self, exchange: Exchange) -> str | None:
        """What a plain small write names; None where a handler is to judge."""
        head = exchange.head
        method, target, _ = head.start_line
        location = target[len(PREFIX) :]
        if (
            head.body_bytes > (0 if method == "DELETE" else self._small_bytes)
            or not exchange.body_is_here
            or not _is_plain_target(target)
            or len(location) > MAX_LOCATION_BYTES
            or not self._allows(head.block.host)
            or not _is_plain(head.block, writing=True)
        ):
            return None
        access = self._access
        permitted = access.is_open or access.permits(_ACTIONS[method], location, _authorization(head))
        return location if permitted else None

    def _answered(self, exchange: Exchange, status: int, began: float) -> None:
        head = exchange.head
        method, target, version = head.start_line
        self._requests.answered(
            method,
            status,
            target,
            perf_counter() - began,
            exchange.body_bytes_in,
            exchange.body_bytes_out,
            exchange.remote_ip,
            head.headers,
            version,
            self._user(head),
        )

    def _user(self, head: RequestHead) -> str:
        """Who asks, where that is written down anywhere."""
        if self._access.is_open or self._requests.access is None:
            return "-"
        return self._access.name_of(_authorization(head))

    def _fields_of(self, blob: Blob) -> bytes:
        """The blob's own fields, as they are sent, and the empty line."""
        fields = sent(blob_fields(blob)) + self._cors + b"\r\n"
        if len(self._fields) >= _MAX_HEADS:
            del self._fields[next(iter(self._fields))]
        self._fields[blob.location] = (blob, fields)
        return fields


class _Answering(HTTPMessageDelegate):
    """A request whose answer is known, on a connection that closes after it."""

    __slots__ = ("_answer", "_exchange")

    def __init__(self, exchange: Exchange, answer: tuple[bytes, bytes]) -> None:
        self._exchange = exchange
        self._answer = answer

    def finish(self) -> None:
        """See HTTPMessageDelegate."""
        self._exchange.respond(*self._answer)


class _Writing(HTTPMessageDelegate):
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
        head = self._exchange.head
        method, target, _ = head.start_line
        fields: Fields = []
        status, body = 200, b""
        try:
            if method == "DELETE":
                await self._store.delete(self._location, self._condition)
            else:
                said = _first(head, "Content-Type")
                kind = upload_media_type(said, self._location, guesses=self._guesses)
                blob, replaced = await self._store.write_whole(
                    self._location, self._condition, Content(kind), self._body
                )
                prefix = _first(head, FORWARDED_PREFIX)
                status, fields = outcome(method, blob, replaced=replaced, forwarded_prefix=prefix)
        except Exception as err:
            if not isinstance(err, BlobkeepError):
                log.exception("%s %s failed", method, target)
            status, fields, body = answer_to(err)
        end = b"Content-Length: %d\r\n\r\n" % len(body)
        self._exchange.respond(_start_line(status) + sent_common(int(time())) + sent(fields) + end, body)
        self._answered(self._exchange, status, self._began)


@functools.cache
def _start_line(status: int) -> bytes:
    return b"HTTP/1.1 %d %s\r\n" % (status, responses[status].encode())


@functools.lru_cache(2)
def _ok(now_s: int) -> bytes:
    """How every 200 of a second begins."""
    return b"HTTP/1.1 200 OK\r\n" + sent_common(now_s)


def _is_plain_target(target: str) -> bool:
    """Whether what follows /store/ is, as it stands, the location of a blob or no location at all.

    The store may have blobs whose names this front end cannot spell, such as `a//b` of S3: segments that are
    dropped, or a slash at the end, are for a handler.
    """
    return (
        target.startswith(PREFIX)
        and target.isascii()
        and "%" not in target
        and "?" not in target
        and "//" not in target
        and "/." not in target
        and target[-1] != "/"
    )


def _is_plain(block: FieldBlock, *, writing: bool = False) -> bool:
    """Whether none of the fields changes what the request means. Found once for all with the same fields."""
    if block.memo is None:
        fields = block.fields
        plain = _UNPLAIN.isdisjoint(fields) and all(len(fields.get(name, ())) < 2 for name in _ONCE)
        kept = not _KEPT.isdisjoint(fields) or any(name.startswith("X-Meta-") for name in fields)
        kept = kept or any(map(is_form, fields.get("Content-Type", ())))
        block.memo = (plain, plain and not kept)
    return bool(block.memo[writing])  # type: ignore[index]


def _authorization(head: RequestHead) -> str | None:
    return _first(head, "Authorization")


def _first(head: RequestHead, name: str) -> str | None:
    """The field of this name, one of _ONCE. `head.headers` would take 2 µs."""
    values = head.block.fields.get(name)
    return values[0] if values else None
