"""A small PutObject whose fields say nothing but who signed it and what type it has: the quickest way.

What its answer does not depend on is not asked: conditions, metadata, checksums, ACLs. Nothing is refused
here. A request that the store may not be given as it is goes the way of all others (see small_puts), which
refuses it. The two answer alike: see tests/s3/test_fast_path.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import md5, sha256
from random import getrandbits
from time import time

from common.config import Config
from services.access.decisions import Action
from services.frontends.s3.body import whole_has_md5
from services.frontends.s3.buckets import has_record
from services.frontends.s3.etags import ETAG, tag_of_sha256
from services.frontends.s3.identity import Identity
from services.frontends.s3.names import S3Target
from services.frontends.s3.request import Answering, Request, begin_of_200
from services.frontends.s3.sigv4 import UNSIGNED
from services.frontends.s3.small_puts import SmallPut
from services.http1 import Exchange
from services.rules.answers import sent
from services.rules.cors import origins_of
from services.rules.uploads import stored_media_type
from services.store import Blob, Content, Store
from services.watch.request_log import RequestLog

MAX_BYTES = 64 << 10  # so much is hashed at once
_PLAIN = frozenset(
    (
        *("host", "authorization", "x-amz-date", "x-amz-content-sha256", "content-length", "content-type"),
        *("accept", "accept-encoding", "accept-language", "connection", "date", "user-agent"),
        *("amz-sdk-invocation-id", "amz-sdk-request", "x-amz-user-agent"),
    )
)


def is_plain(names: Iterable[str]) -> bool:
    """Whether a PutObject with these fields, in lower case, is plain."""
    given = frozenset(names)
    return given <= _PLAIN and "content-length" in given


class PlainPuts:
    """What all of them share. `ends`: an answer from its request id on; it takes that and the tag."""

    def __init__(self, store: Store, requests: RequestLog, config: Config) -> None:
        self.store = store
        self.requests = requests
        self.computes_md5 = whole_has_md5(config)
        self.cors = origins_of(config.cors_origins).answer_fields(None)
        fields = [("ETag", '"%s"'), ("Content-Length", "0")]
        escaped = [(name, value.replace("%", "%%")) for name, value in self.cors]
        self.ends = b"%016X\r\n" + sent([*fields, *escaped]) + b"\r\n"


class PlainPut(SmallPut):
    """One such request, if its body is not too large; see SmallPut."""

    def __init__(
        self,
        exchange: Exchange,
        request_of: Callable[[Answering], Request],
        shared: PlainPuts,
        asked: S3Target,
        identity: Identity,
    ) -> None:
        super().__init__(exchange, request_of, shared.requests, shared.cors)
        self._shared = shared
        self._asked = asked
        self._identity = identity

    async def _answer(self) -> None:
        body, shared, asked = self._body, self._shared, self._asked
        location = asked.location
        client, _, claim = self._identity
        fields = self._exchange.head.block.fields
        if (
            len(body) > MAX_BYTES
            or not (client is None or client.may(Action.UPDATE, location))
            or not has_record(shared.store, asked.bucket)
        ):
            await super()._answer()
            return
        digest = sha256(body).digest()
        if claim is not None:
            payload = claim.payload
        else:  # everyone may do everything
            payload = fields.get("X-Amz-Content-Sha256", [UNSIGNED])[0]
        if payload not in (digest.hex(), UNSIGNED):
            await super()._answer()
            return
        tag = md5(body, usedforsecurity=False).hexdigest() if shared.computes_md5 else None
        exchange = self._exchange
        said = fields.get("Content-Type")
        kind = stored_media_type(said[0] if said else None)
        content = Content(kind) if tag is None else Content(kind, "", {ETAG: tag})
        user = "-" if client is None else client.name
        try:
            await shared.store.write_whole(location, _anything, content, body, digest)
        except Exception as err:  # noqa: BLE001 - as in SmallPut
            self._refuse(err)
            self._respond(user)
            return
        shown = (tag or tag_of_sha256(digest)).encode()
        exchange.respond(begin_of_200(int(time())) + shared.ends % (getrandbits(64), shown))
        shared.requests.answered_exchange(exchange, 200, self._began_s, user)


def _anything(blob: Blob | None, damaged: bool) -> None:
    """The condition of a write without conditions, by a client that may replace what is there."""
