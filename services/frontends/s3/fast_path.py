"""GET and HEAD of small, hot objects without a RequestHandler: the same rules, the same bytes.

What is plain (a whole object that is at hand, whose request asks for nothing else) is answered here; all
else, every refusal among it, goes to the handler, which is the contract. The signature is checked whole. A
test compares the two, header for header (tests/s3/test_fast_path.py).
"""

from __future__ import annotations

import secrets
from time import perf_counter, time

from common.config import Config
from services.access.decisions import Access, Action
from services.frontends.s3 import sigv4
from services.frontends.s3.errors import S3Error
from services.frontends.s3.identity import identify
from services.frontends.s3.names import bucket_of_host, parse_target, s3_hosts
from services.frontends.s3.stored import checksum_fields, object_fields
from services.http1 import RequestContext, RequestHead
from services.rules.answers import sent, sent_common
from services.rules.cors import origins_of
from services.store import Blob, Store
from services.watch.request_log import RequestLog

# Fields that change what a request means, or what its answer says. Who sends one gets the handler.
_UNPLAIN = frozenset(
    (
        *("Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"),
        *("Expect", "Origin", "Sec-Fetch-Site"),
    )
)
# Of those that begin with X-Amz- only these are plain.
_AMZ = "X-Amz-"
_PLAIN_AMZ = frozenset(_AMZ + name for name in ("Date", "Content-Sha256", "Checksum-Mode", "User-Agent"))
_PLAIN_QUERIES = frozenset(("", "x-id=GetObject", "x-id=HeadObject"))  # some SDKs name what they ask
_MAX_HEADS = 4096  # of objects: about 1 KiB each


class S3FastPath:
    """Answers what is plain. For services.http1 alone. `base`: what its paths begin with."""

    def __init__(
        self, store: Store, access: Access, requests: RequestLog, config: Config, *, base: str = ""
    ) -> None:
        self._store = store
        self._access = access
        self._requests = requests
        self._base = base
        self._hosts = s3_hosts(config)
        self._region = config.s3_region
        self._cors = origins_of(config.cors_origins).answer_fields(None)
        # The fields of objects as they are sent, by location: without a checksum, and with it.
        self._fields: dict[str, tuple[Blob, bytes, bytes]] = {}

    def quick_answer(self, head: RequestHead, context: RequestContext) -> tuple[bytes, bytes] | None:
        """Head and body of the 200 to a GET or HEAD; None where the handler is to judge. See HTTPServer."""
        began = perf_counter()
        method, target, version = head.start_line
        if method not in ("GET", "HEAD"):
            return None
        path, _, query = target.partition("?")
        values = _plain_values(head.block.fields)
        host = head.headers.get("Host")
        if values is None or query not in _PLAIN_QUERIES or host is None or host != head.block.host:
            return None
        now_s = time()
        try:
            is_named, bucket = bucket_of_host(host, self._hosts)
            if not is_named and not self._access.hosts.allows(host):
                return None
            asked = parse_target(path.removeprefix(self._base) or "/", bucket)
            client, _, claim = identify(
                sigv4.Request(method, path, query, values), self._access, self._region, now_s
            )
        except S3Error:
            return None
        location = asked.location
        if not asked.key or (client is not None and not client.may(Action.READ, location)):
            return None
        found = self._store.peek(location, body=method == "GET")
        if found is None:
            return None
        blob, body = found
        fields = self._fields_of(location, blob, with_checksum="x-amz-checksum-mode" in values)
        if fields is None:
            return None
        head.is_once = claim is not None  # the next one is signed at another time
        self._requests.answered(
            method,
            200,
            target,
            perf_counter() - began,
            0,
            len(body),
            context.remote_ip,
            head.headers,
            version,
            "-" if client is None or claim is None else client.name,
        )
        request_id = b"x-amz-request-id: %s\r\n" % secrets.token_hex(8).upper().encode()
        return b"HTTP/1.1 200 OK\r\n" + sent_common(int(now_s)) + request_id + fields, body

    def _fields_of(self, location: str, blob: Blob, *, with_checksum: bool) -> bytes | None:
        """The own fields of the object and the empty line, as sent; None where the handler is to judge."""
        known = self._fields.get(location)
        if known is None or (known[0] is not blob and known[0].version != blob.version):
            fields = object_fields(blob)
            length = [("Content-Length", str(blob.size))]
            try:
                known = (
                    blob,
                    sent([*fields, *length, *self._cors]) + b"\r\n",
                    sent([*fields, *checksum_fields(blob), *length, *self._cors]) + b"\r\n",
                )
            except ValueError:  # what no field can carry
                return None
            if len(self._fields) >= _MAX_HEADS:
                del self._fields[next(iter(self._fields))]
            self._fields[location] = known
        return known[2] if with_checksum else known[1]


def _plain_values(fields: dict[str, list[str]]) -> dict[str, list[str]] | None:
    """The fields of a plain request by lower-case name; None where one is not plain."""
    for name in fields:
        if name in _UNPLAIN or (name.startswith(_AMZ) and name not in _PLAIN_AMZ):
            return None
    mode = fields.get("X-Amz-Checksum-Mode")
    if mode is not None and (len(mode) > 1 or mode[0].upper() != "ENABLED"):
        return None
    return {name.lower(): values for name, values in fields.items()}
