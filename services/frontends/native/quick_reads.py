"""Plain reads answered without a RequestHandler: whole blobs whose bytes are in memory or the page cache.

The server uses it (fast_path.py), and so does a reader process (services/reader.py): the same code, the same
bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from http.client import responses
from time import perf_counter, time
from typing import Protocol

from common.options import Config
from services.access.decisions import Access, Action
from services.frontends.native.headers import (
    FORWARDED_PREFIX,
    PREFIX,
    modified_s,
    sent_blob_fields,
    validators,
)
from services.http1 import FieldBlock, RequestContext, RequestHead, SteadyCache
from services.rules.answers import Fields, sent, sent_common
from services.rules.conditions import NOT_MODIFIED, etag, evaluate
from services.rules.cors import origins_of
from services.rules.framed import is_form
from services.rules.locations import MAX_LOCATION_BYTES
from services.store import Blob
from services.watch.request_log import RequestLog

# Fields that change the meaning of a request, or its answer: a request with one goes to a handler.
_UNPLAIN = frozenset(
    (
        *("Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"),
        *("Expect", "Content-Range", "Content-Encoding", "Repr-Digest", "Content-Digest"),
        *("Origin", "Sec-Fetch-Site", "X-Amz-Content-Sha256"),
        *("Digest", "Content-Md5", "Trailer", "Blob-Copy-From", "Blob-Move-From"),
    )
)
# Of these, the conditions that a 304 may answer. If the blob has changed, a handler answers.
_CONDITIONS = frozenset(("If-None-Match", "If-Modified-Since"))
# Fields that are read here: if one occurs twice, a handler must judge.
_ONCE = ("Authorization", "Content-Type", FORWARDED_PREFIX)
# Fields that an upload's blob keeps, in addition to these; or a handler must refuse them.
_KEPT = frozenset(("Cache-Control", "Content-Disposition", "Content-Language", "Expires"))
_OURS = ("X-Meta-", "Blob-")
_MAX_TARGET_CHARS = len(PREFIX) + MAX_LOCATION_BYTES
_MAX_BYTES = 4 << 20  # of heads of blobs
_ENTRY_BYTES = 300  # what one costs beside its bytes; twice that where the index is on disk
_READ = Action.READ  # as a name of this module: to ask an enum for a member costs 90 ns in Python 3.11


class Peeks(Protocol):
    """What is needed of a store."""

    def peek(self, location: str, *, body: bool = True) -> tuple[Blob, bytes | memoryview] | None:
        """See store.Store."""
        ...


class QuickReads:
    """`is_anothers`: whether a host name is another front end's, which means something else by a path. It is
    asked where S3 has host names.
    """

    def __init__(
        self,
        blobs: Peeks,
        access: Access,
        requests: RequestLog,
        config: Config,
        is_anothers: Callable[[str | None], bool] | None = None,
    ) -> None:
        self._blobs = blobs
        self._access = access
        self._requests = requests
        self._is_anothers = is_anothers if config.s3_hosts else None
        self._cors = sent(origins_of(config.cors_origins).answer_fields(None))
        # Of blobs, by location.
        self._fields: SteadyCache[str, tuple[Blob, bytes]] = SteadyCache(
            _MAX_BYTES, lambda _, known: len(known[1]) + _ENTRY_BYTES
        )
        self.declined: RequestHead | None = None  # the last that was plain, of what is not in memory

    def quick_answer(
        self, head: RequestHead, context: RequestContext
    ) -> tuple[bytes, bytes | memoryview] | None:
        """Head and body of the 200 to a GET or HEAD; None if a handler must judge. See HTTPServer.

        Costs 2 µs if the body is in memory, and less for requests that are not plain.
        """
        began_s = perf_counter()
        location: str | None = head.memo
        if location is None:
            location = head.memo = self.read_location(head)
        if not location:
            return self._not_modified(head, context, began_s) if has_conditions(head.block) else None
        method = head.start_line.method
        access = self._access
        if not access.is_open and not access.permits(_READ, location, authorization_of(head)):
            return None
        found = self._blobs.peek(location, body=method == "GET")
        if found is None:
            self.declined = head
            return None
        blob, body = found
        known = self._fields.get(location)
        # All of it is compared: a reader may know one of an earlier server with the same number.
        if known is not None and (known[0] is blob or known[0] == blob):
            fields = known[1]
        else:
            fields = self.fields_of(blob)
        requests = self._requests
        if requests.access is None:  # the hot path: one call less
            requests.count(method, 200, perf_counter() - began_s, 0, len(body))
        else:
            requests.answered_quickly(head, context, 200, len(body), began_s, self._user(head))
        return _ok(int(time())) + fields, body

    def lasting(self, head: RequestHead, location: str) -> tuple[bytes, int] | None:
        """What follows `ok_lines` in the answer to a plain GET of `location`, and how much of it is body.

        It is valid while the blob is the location's and no rights change. None: a handler must judge.
        """
        if location != self.read_location(head):
            return None
        access = self._access
        if not (access.is_open or access.permits(_READ, location, authorization_of(head))):
            return None
        found = self._blobs.peek(location)
        return None if found is None else (self.fields_of(found[0]) + found[1], len(found[1]))

    def read_location(self, head: RequestHead) -> str:
        """The location that a plain GET or HEAD names under a host name of this front end; else empty.

        It depends only on the head and on what is fixed at the start, so it is computed once for a head that
        clients repeat. A location in the index is valid, and looks the same in a target.
        """
        method, target, _ = head.start_line
        plain = method in ("GET", "HEAD") and is_plain_target(target) and is_plain(head.block)
        return target[len(PREFIX) :] if plain and self._allows(head.host) else ""

    def asked_location(self, head: RequestHead) -> str:
        """As `read_location`, for a request that may also have the conditions that a 304 answers."""
        method, target, _ = head.start_line
        asks = method in ("GET", "HEAD") and is_plain_target(target)
        asks = asks and (is_plain(head.block) or has_conditions(head.block))
        return target[len(PREFIX) :] if asks and self._allows(head.host) else ""

    def _not_modified(
        self, head: RequestHead, context: RequestContext, began_s: float
    ) -> tuple[bytes, bytes | memoryview] | None:
        """The 304 to a read with conditions; None if it is no such read, or has another answer."""
        location = self.asked_location(head)
        access = self._access
        if not location or not (access.is_open or access.permits(_READ, location, authorization_of(head))):
            return None
        found = self._blobs.peek(location, body=False)
        if found is None:
            return None
        blob = found[0]
        tag, method = etag(blob.sha256), head.start_line.method
        if evaluate(head.headers, tag, modified_s(blob), method) is not NOT_MODIFIED:
            return None
        self._requests.answered_quickly(head, context, 304, 0, began_s, self._user(head))
        fields = sent(validators(blob)) + self._cors + b"\r\n"
        return _begun(304, int(time())) + fields, b""

    def _allows(self, host: str | None) -> bool:
        """Whether the host name is the native front end's."""
        if self._is_anothers is not None and self._is_anothers(host):
            return False
        hosts = self._access.hosts
        return not hosts.guards or hosts.known.get(host or "") or hosts.allows(host)

    def _user(self, head: RequestHead) -> str:
        """The client's name, for the logs, if they need it."""
        return "-" if self._requests.access is None else user_of(self._access, head)

    def known_fields_of(self, blob: Blob) -> bytes:
        """The same as `fields_of`, made once for a blob that is read again."""
        known = self._fields.get(blob.location)
        return known[1] if known is not None and known[0] == blob else self.fields_of(blob)

    def fields_of(self, blob: Blob) -> bytes:
        """The blob's own fields, as they are sent, and the empty line."""
        fields = sent_blob_fields(blob) + self._cors + b"\r\n"
        self._fields.add(blob.location, (blob, fields))
        return fields


def ok_lines() -> bytes:
    """How a 200 begins that is sent now; its own fields follow."""
    return _ok(int(time()))


def whole_answer(status: int, fields: Fields, body: bytes) -> tuple[bytes, bytes]:
    """Head and body of an answer, with the fields that all have: see Exchange.respond."""
    return _begun(status, int(time())) + sent(fields) + b"Content-Length: %d\r\n\r\n" % len(body), body


def empty_answer(status: int, lines: bytes) -> bytes:
    """The same for an answer without a body, whose own fields are in `lines`, as they are sent."""
    return _begun(status, int(time())) + lines + b"Content-Length: 0\r\n\r\n"


@functools.lru_cache(32)
def _begun(status: int, now_s: int) -> bytes:
    """How every answer of a second begins that has this status."""
    return b"HTTP/1.1 %d %s\r\n" % (status, responses[status].encode()) + sent_common(now_s)


@functools.lru_cache(2)
def _ok(now_s: int) -> bytes:
    return _begun(200, now_s)


def is_plain_target(target: str) -> bool:
    """Whether the text after /store/ is unchanged the location of a blob, or no location at all.

    The store may have blobs whose names this front end cannot express, such as `a//b` of S3. So a target that
    is too long, that has segments that are dropped, or a slash at the end, goes to a handler.
    """
    return (
        target.startswith(PREFIX)
        and len(target) <= _MAX_TARGET_CHARS
        and target.isascii()
        and "%" not in target
        and "?" not in target
        and "//" not in target
        and "/." not in target
        and target[-1] != "/"
    )


def is_plain(block: FieldBlock, *, writing: bool = False) -> bool:
    """Whether no field changes the meaning of the request. Computed once for all with the same fields."""
    if block.memo is None:
        fields = block.fields
        unplain = _UNPLAIN.intersection(fields)
        once = all(len(fields.get(name, ())) < 2 for name in (*_ONCE, *_CONDITIONS))
        kept = not _KEPT.isdisjoint(fields) or any(name.startswith(_OURS) for name in fields)
        kept = kept or any(map(is_form, fields.get("Content-Type", ())))
        plain = once and not unplain
        block.memo = (plain, plain and not kept, once and bool(unplain) and unplain <= _CONDITIONS)
    return bool(block.memo[writing])  # type: ignore[index]


def has_conditions(block: FieldBlock) -> bool:
    """Whether the fields are plain except for conditions that a 304 may answer."""
    is_plain(block)
    return bool(block.memo[2])  # type: ignore[index]


def user_of(access: Access, head: RequestHead) -> str:
    """The name of the client that sent the request, for the logs."""
    return "-" if access.is_open else access.name_of(authorization_of(head))


def authorization_of(head: RequestHead) -> str | None:
    """The credentials of the request, as it has them."""
    return first_of(head, "Authorization")


def first_of(head: RequestHead, name: str) -> str | None:
    """The field of this name, one of _ONCE. `head.headers` would take 2 µs."""
    values = head.block.fields.get(name)
    return values[0] if values else None
