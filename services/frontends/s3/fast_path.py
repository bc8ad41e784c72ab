"""Plain requests for small objects without a RequestHandler: the same rules, the same bytes.

What is plain (a whole object that is at hand, whose request asks for nothing else; a PutObject whose body has
come with its head) is answered here; all else goes to the handler, which is the contract. The signature is
checked whole. A test compares the two, header for header (tests/s3/test_fast_path.py).
"""

from __future__ import annotations

import secrets
from time import perf_counter, time

from tornado.httputil import HTTPConnection, HTTPMessageDelegate, HTTPServerConnectionDelegate

from common.bounded import make_room
from common.config import Config
from common.errors import BlobkeepError, Misdirected
from services.access.decisions import Access, Action
from services.frontends.s3 import sigv4
from services.frontends.s3.identity import Identity, identify
from services.frontends.s3.names import Target, bucket_of_host, parse_target, s3_hosts
from services.frontends.s3.parts_in_blobs import parts_of
from services.frontends.s3.request import Answering, Request
from services.frontends.s3.routes import decide
from services.frontends.s3.small_puts import SmallPut
from services.frontends.s3.stored import checksum_fields, object_fields
from services.http1 import Exchange, RequestContext, RequestHead
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
# Of those that ask for an object to be stored, only these are not: who waits, and pages in browsers.
_UNPLAIN_OF_WRITES = frozenset(("Expect", "Origin", "Sec-Fetch-Site", "Transfer-Encoding"))
_MAX_HEADS = 4096  # of objects: about 1 KiB each


class S3FastPath(HTTPServerConnectionDelegate):
    """Answers what is plain; `app` gets the rest. For services.http1 alone: others have no Exchange.

    `base`: what its paths begin with.
    """

    def __init__(
        self,
        app: HTTPServerConnectionDelegate,
        store: Store,
        access: Access,
        requests: RequestLog,
        config: Config,
        *,
        base: str = "",
    ) -> None:
        self._app = app
        self._config = config
        self._parts = parts_of(store)
        self._small_bytes = config.small_body_bytes
        self._store = store
        self._access = access
        self._requests = requests
        self._base = base
        self._hosts = s3_hosts(config)
        self._region = config.s3_region
        self._cors = origins_of(config.cors_origins).answer_fields(None)
        # The fields of objects as they are sent, by location: without a checksum, and with it.
        self._fields: dict[str, tuple[Blob, bytes, bytes]] = {}

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """See HTTPServerConnectionDelegate."""
        if isinstance(request_conn, Exchange) and request_conn.head.start_line.method == "PUT":
            put = self._small_put(request_conn)
            if put is not None:
                return put
        return self._app.start_request(server_conn, request_conn)

    def on_close(self, server_conn: object) -> None:
        """See HTTPServerConnectionDelegate."""
        self._app.on_close(server_conn)

    def _small_put(self, exchange: Exchange) -> SmallPut | None:
        """A PutObject whose body is here; None where the handler is to judge."""
        head = exchange.head
        method, target, _ = head.start_line
        path, _, query = target.partition("?")
        given = head.block.fields
        if (
            query not in ("", "x-id=PutObject")
            or not exchange.body_is_here
            or head.body_bytes > self._small_bytes
            or not _UNPLAIN_OF_WRITES.isdisjoint(given)
        ):
            return None
        values = {name.lower(): said for name, said in given.items()}
        fields = {name: ",".join(said) for name, said in values.items()}
        try:
            asked, (client, secret, claim) = self._asked(head, path, query, values, time())
            if decide(method, asked, (), fields) != "PutObject":
                return None
        except BlobkeepError:
            return None

        def request_of(answering: Answering) -> Request:
            return Request(
                method,
                asked,
                {},
                fields,
                claim,
                secret,
                client,
                self._store,
                self._parts,
                self._config,
                self._access,
                answering,
            )

        return SmallPut(exchange, request_of, self._requests, self._cors)

    def _asked(
        self, head: RequestHead, path: str, query: str, values: dict[str, list[str]], now_s: float
    ) -> tuple[Target, Identity]:
        """What is asked for, and who asks, checked. Raises BlobkeepError; where in doubt, too."""
        host = head.headers.get("Host")
        if host is None or host != head.block.host:
            raise Misdirected("The host is not the field's.")
        is_named, bucket = bucket_of_host(host, self._hosts)
        if not is_named:
            self._access.hosts.check(host)
        asked = parse_target(path.removeprefix(self._base) or "/", bucket)
        signing = sigv4.Request(head.start_line.method, path, query, values)
        return asked, identify(signing, self._access, self._region, now_s)

    def quick_answer(self, head: RequestHead, context: RequestContext) -> tuple[bytes, bytes] | None:
        """Head and body of the 200 to a GET or HEAD; None where the handler is to judge. See HTTPServer."""
        began = perf_counter()
        method, target, version = head.start_line
        if method not in ("GET", "HEAD"):
            return None
        path, _, query = target.partition("?")
        values = _plain_values(head.block.fields)
        if values is None or query not in _PLAIN_QUERIES:
            return None
        now_s = time()
        try:
            asked, (client, _, claim) = self._asked(head, path, query, values, now_s)
        except BlobkeepError:
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
            make_room(self._fields, _MAX_HEADS)
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
