"""Plain requests without a RequestHandler: the same rules, the same bytes.

Plain requests are answered here: a GET or HEAD of a whole object in memory, a PutObject whose body came with
its head, and an UploadPart. All others go to the handler, which defines the behaviour. The whole signature is
checked. Tests compare the two, header for header (tests/s3/test_fast_path.py, test_part_puts.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from random import getrandbits
from time import perf_counter, time

from tornado.httputil import HTTPMessageDelegate, HTTPServerConnectionDelegate

from common.config import Config
from common.errors import BlobkeepError, Misdirected
from services.access.decisions import Access, Action
from services.frontends.s3 import sigv4
from services.frontends.s3.fields import is_judged
from services.frontends.s3.identity import Identity, identify
from services.frontends.s3.names import S3Target, bucket_of_host, parse_target, s3_hosts
from services.frontends.s3.part_puts import PartPut, part_query
from services.frontends.s3.parts_in_blobs import parts_of
from services.frontends.s3.plain_puts import PlainPut, PlainPuts, crc_field, is_plain
from services.frontends.s3.request import Answering, Request, begin_of_200
from services.frontends.s3.routes import decide
from services.frontends.s3.signed_alike import SignedAlike
from services.frontends.s3.small_puts import SmallPut
from services.frontends.s3.stored import checksum_fields, object_fields
from services.frontends.shortcut import Shortcut
from services.http1 import Exchange, FieldBlock, RequestContext, RequestHead, SteadyCache
from services.rules.answers import sent
from services.rules.cors import origins_of
from services.store import Blob, Store
from services.watch.request_log import RequestLog

# Fields that change the meaning of a request, or its answer: a request with one goes to the handler.
_UNPLAIN = frozenset(
    (
        *("Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"),
        *("Expect", "Origin", "Sec-Fetch-Site"),
    )
)
# Of the fields that begin with X-Amz- only these are plain.
_AMZ = "X-Amz-"
_PLAIN_AMZ = frozenset(_AMZ + name for name in ("Date", "Content-Sha256", "Checksum-Mode", "User-Agent"))
_PLAIN_QUERIES = frozenset(("", "x-id=GetObject", "x-id=HeadObject"))  # some SDKs name the operation
# Fields that make a PutObject not plain: the client waits for 100 Continue, or is a page in a browser.
_UNPLAIN_OF_WRITES = frozenset(("Expect", "Origin", "Sec-Fetch-Site", "Transfer-Encoding"))
# The connection itself knows what to do with the other two.
_UNPLAIN_OF_PARTS = frozenset(("Origin", "Sec-Fetch-Site"))
_MODE = "X-Amz-Checksum-Mode"
_MAX_BYTES = 4 << 20  # of heads of objects
_ENTRY_BYTES = 300  # what one costs beside its bytes; twice that where the index is on disk
_known_target = lru_cache(1024)(parse_target)


class Kind:
    """What follows from the names of a request's fields. It is the same for all requests of one shape.

    `names`: each as in the head, and in lower case. `may_read`, `may_put`, `may_send_parts`: whether no field
    needs a handler.
    `is_plain_put`, `crc`: see plain_puts.
    `is_judged`: a field's value decides whether it is supported. `has_mode`: whether a checksum may be asked
    for. `named`: what `bucket_of_host` says of the host, which belongs to the shape; None: not asked yet.
    """

    __slots__ = (
        *("alike", "crc", "has_mode", "is_judged", "is_plain_put", "may_put", "may_read", "may_send_parts"),
        *("named", "names"),
    )

    def __init__(self, fields: Iterable[str]) -> None:
        self.names = [(name, name.lower()) for name in fields]
        self.may_read = all(
            name not in _UNPLAIN and (name in _PLAIN_AMZ or not name.startswith(_AMZ))
            for name, _ in self.names
        )
        self.may_put = all(name not in _UNPLAIN_OF_WRITES for name, _ in self.names)
        self.may_send_parts = all(name not in _UNPLAIN_OF_PARTS for name, _ in self.names)
        self.is_plain_put = is_plain(lower for _, lower in self.names)
        self.crc = crc_field(self.names)
        self.is_judged = any(map(is_judged, (lower for _, lower in self.names)))
        self.has_mode = any(name == _MODE for name, _ in self.names)
        self.named: tuple[bool, str | None] | None = None
        self.alike = SignedAlike()


def kind_of(block: FieldBlock) -> Kind:
    """The Kind of a block, computed once for all blocks of a shape."""
    shape = block.shape
    if shape is None:
        made = Kind(block.fields)
        made.is_plain_put = False  # a field occurs twice
        return made
    if shape.memo is None:
        shape.memo = Kind(block.fields)
    assert isinstance(shape.memo, Kind)
    return shape.memo


class S3FastPath(Shortcut):
    """Answers plain requests; `app` gets the rest. `base`: the prefix of all paths."""

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
        super().__init__(app)
        self._config = config
        self._parts = parts_of(store)
        self._small_bytes = config.small_body_bytes
        self._store = store
        self._access = access
        self._requests = requests
        self._base = base
        self._hosts = s3_hosts(config)
        self._region = config.s3_region
        self._plain_puts = PlainPuts(store, requests, config)
        self._cors = origins_of(config.cors_origins).answer_fields(None)
        # The fields of objects as they are sent, by location: without a checksum, and with it.
        self._fields: SteadyCache[str, tuple[Blob, bytes, bytes]] = SteadyCache(
            _MAX_BYTES, lambda _, known: len(known[1]) + len(known[2]) + _ENTRY_BYTES
        )

    def take(self, exchange: Exchange) -> HTTPMessageDelegate | None:
        """See Shortcut."""
        if exchange.head.start_line.method != "PUT":
            return None
        return self._small_put(exchange) or self._part_put(exchange)

    def _small_put(self, exchange: Exchange) -> SmallPut | None:
        """A PutObject whose body has come; None if the handler must judge."""
        head = exchange.head
        method, target, _ = head.start_line
        path, _, query = target.partition("?")
        kind = kind_of(head.block)
        if (
            query not in ("", "x-id=PutObject")
            or not exchange.body_is_here
            or head.body_bytes > self._small_bytes
            or not kind.may_put
        ):
            return None
        try:
            asked, identity = self._asked(head, path, query, kind, time())
            if not asked.key:
                return None
            if kind.is_judged and decide(method, asked, (), _joined(head, kind)) != "PutObject":
                return None
        except BlobkeepError:
            return None

        def request_of(answering: Answering) -> Request:
            return self._request(head, kind, asked, identity, {}, answering)

        if kind.is_plain_put:
            return PlainPut(exchange, request_of, self._plain_puts, asked, identity, kind.crc)
        return SmallPut(exchange, request_of, self._requests, self._cors)

    def _part_put(self, exchange: Exchange) -> PartPut | None:
        """An UploadPart; None if the handler must judge."""
        head = exchange.head
        path, _, query = head.start_line.path.partition("?")
        given = part_query(query)
        if given is None:
            return None
        kind = kind_of(head.block)
        if not kind.may_send_parts:
            return None
        try:
            asked, identity = self._asked(head, path, query, kind, time())
            if kind.is_judged and decide("PUT", asked, given, _joined(head, kind)) != "UploadPart":
                return None
        except BlobkeepError:
            return None
        if not asked.key:
            return None
        return PartPut(
            exchange,
            lambda answering: self._request(head, kind, asked, identity, given, answering),
            self._requests,
            self._cors,
        )

    def _request(
        self,
        head: RequestHead,
        kind: Kind,
        asked: S3Target,
        identity: Identity,
        query: dict[str, str],
        answering: Answering,
    ) -> Request:
        client, secret, claim = identity
        return Request(
            head.start_line.method,
            asked,
            query,
            _joined(head, kind),
            claim,
            secret,
            client,
            self._store,
            self._parts,
            self._config,
            self._access,
            answering,
        )

    def _asked(
        self, head: RequestHead, path: str, query: str, kind: Kind, now_s: float
    ) -> tuple[S3Target, Identity]:
        """The target and the identity, checked. Raises BlobkeepError, also in doubt."""
        host = head.host
        if host is None or host != head.block.host:
            raise Misdirected("The host is not the field's.")
        if kind.named is None:
            kind.named = bucket_of_host(host, self._hosts)
        is_named, bucket = kind.named
        if not is_named:
            self._access.hosts.check(host)
        method, given = head.start_line.method, head.block.fields
        parse = parse_target if method == "PUT" else _known_target  # targets of reads repeat
        asked = parse(path.removeprefix(self._base) or "/", bucket)
        found = kind.alike.identify(method, path, query, given, self._access, now_s)
        if found is None:
            values = {lower: given[name] for name, lower in kind.names}
            signing = sigv4.SignedRequest(method, path, query, values)
            found = identify(signing, self._access, self._region, now_s)
            if head.block.shape is not None:
                kind.alike.remember(given, found)
        return asked, found

    def quick_answer(
        self, head: RequestHead, context: RequestContext
    ) -> tuple[bytes, bytes | memoryview] | None:
        """Head and body of the 200 to a GET or HEAD; None if the handler must judge. See HTTPServer."""
        began_s = perf_counter()
        method, target, _ = head.start_line
        if method not in ("GET", "HEAD"):
            return None
        path, _, query = target.partition("?")
        kind = kind_of(head.block)
        if not kind.may_read or query not in _PLAIN_QUERIES:
            return None
        if kind.has_mode and not _is_plain_mode(head.block.fields):
            return None
        now_s = time()
        try:
            asked, (client, _, claim) = self._asked(head, path, query, kind, now_s)
        except BlobkeepError:
            return None
        location = asked.location
        if not asked.key or (client is not None and not client.may(Action.READ, location)):
            return None
        found = self._store.peek(location, body=method == "GET")
        if found is None:
            return None
        blob, body = found
        fields = self._fields_of(location, blob, with_checksum=kind.has_mode)
        if fields is None:
            return None
        head.is_once = claim is not None  # the next one is signed at another time
        requests = self._requests
        if requests.access is None:
            requests.count(method, 200, perf_counter() - began_s, 0, len(body))
        else:
            user = "-" if client is None or claim is None else client.name
            requests.answered_quickly(head, context, 200, len(body), began_s, user)
        return b"%s%016X\r\n%s" % (begin_of_200(int(now_s)), getrandbits(64), fields), body

    def _fields_of(self, location: str, blob: Blob, *, with_checksum: bool) -> bytes | None:
        """The fields of the object and the empty line, as sent; None if the handler must judge."""
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
            self._fields.add(location, known)
        return known[2] if with_checksum else known[1]


def _joined(head: RequestHead, kind: Kind) -> dict[str, str]:
    """The fields by lower-case name, the values of each joined by commas."""
    given = head.block.fields
    return {
        lower: values[0] if len(values := given[name]) == 1 else ",".join(values)
        for name, lower in kind.names
    }


def _is_plain_mode(fields: dict[str, list[str]]) -> bool:
    """Whether the checksum mode asks to send checksums."""
    mode = fields[_MODE]
    return len(mode) == 1 and mode[0].upper() == "ENABLED"
