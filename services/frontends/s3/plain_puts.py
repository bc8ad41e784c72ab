"""A small PutObject whose fields say only who signed it, its type, and a CRC at most: the quickest way.

What its answer does not depend on is not asked: conditions, metadata, ACLs. Nothing is refused here. A
request that the store may not be given as it is goes the way of all others (see small_puts), which refuses
it. The two answer alike: see tests/s3/test_fast_path.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import md5, sha256
from random import getrandbits
from time import time

from common.config import Config
from services.access.decisions import Action
from services.frontends.s3.body import whole_has_md5
from services.frontends.s3.buckets import has_record
from services.frontends.s3.checksums import ALGORITHMS, FULL_OBJECT, HEADER, encoded
from services.frontends.s3.etags import ETAG, tag_of_sha256
from services.frontends.s3.identity import Identity
from services.frontends.s3.names import S3Target
from services.frontends.s3.request import Answering, Request, begin_of_200
from services.frontends.s3.sigv4 import UNSIGNED
from services.frontends.s3.small_puts import SmallPut
from services.frontends.s3.stored import CHECKSUM
from services.http1 import Exchange
from services.rules.answers import sent
from services.rules.cors import origins_of
from services.rules.uploads import stored_media_type
from services.store import Content, Store, unconditional
from services.watch.request_log import RequestLog

MAX_BYTES = 64 << 10  # so much is hashed at once
_PLAIN = frozenset(
    (
        *("host", "authorization", "x-amz-date", "x-amz-content-sha256", "content-length", "content-type"),
        *("accept", "accept-encoding", "accept-language", "connection", "date", "user-agent"),
        *("amz-sdk-invocation-id", "amz-sdk-request", "x-amz-user-agent"),
    )
)
_CRCS = {one.header: one for one in ALGORITHMS.values() if one.is_quick}
_NAMED = "x-amz-sdk-checksum-algorithm"


def crc_field(names: Iterable[tuple[str, str]]) -> str | None:
    """The field with a CRC; None without one. `names`: of the fields, as in the head and in lower case."""
    return next((name for name, lower in names if lower in _CRCS), None)


def is_plain(names: Iterable[str]) -> bool:
    """Whether a PutObject with these fields, in lower case, is plain."""
    given = frozenset(names)
    sums = given & _CRCS.keys()
    others = given - sums - {_NAMED} if sums else given
    return others <= _PLAIN and "content-length" in given and len(sums) <= 1


class PlainPuts:
    """What all of them share. `ends`: by the field of the CRC, "" for none."""

    def __init__(self, store: Store, requests: RequestLog, config: Config) -> None:
        self.store = store
        self.requests = requests
        self.computes_md5 = whole_has_md5(config)
        self.cors = origins_of(config.cors_origins).answer_fields(None)
        self.ends = {header: self._end(header) for header in ("", *_CRCS)}

    def _end(self, crc: str) -> bytes:
        """An answer from its request id on. It takes that, the tag, and the checksum of the field `crc`."""
        shown = [(crc, "%s"), (HEADER + "type", FULL_OBJECT)] if crc else []
        escaped = [(name, value.replace("%", "%%")) for name, value in self.cors]
        fields = [("ETag", '"%s"'), *shown, ("Content-Length", "0"), *escaped]
        return b"%016X\r\n" + sent(fields) + b"\r\n"


class PlainPut(SmallPut):
    """One such request, if its body is not too large; see SmallPut. `crc`: the field with its checksum."""

    def __init__(
        self,
        exchange: Exchange,
        request_of: Callable[[Answering], Request],
        shared: PlainPuts,
        asked: S3Target,
        identity: Identity,
        crc: str | None,
    ) -> None:
        super().__init__(exchange, request_of, shared.requests, shared.cors)
        self._shared = shared
        self._asked = asked
        self._identity = identity
        self._crc = crc

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
        crc = None
        if self._crc is not None:
            crc = _crc_of(body, self._crc, fields)
            if crc is None:
                await super()._answer()
                return
        tag = md5(body, usedforsecurity=False).hexdigest() if shared.computes_md5 else None
        exchange = self._exchange
        said = fields.get("Content-Type")
        kind = stored_media_type(said[0] if said else None)
        kept = {} if tag is None else {ETAG: tag}
        if crc is not None:
            kept[CHECKSUM + crc[0].removeprefix(HEADER)] = crc[1]
        content = Content(kind, "", kept) if kept else Content(kind)
        user = "-" if client is None else client.name
        try:
            await shared.store.write_whole(location, unconditional, content, body, digest)
        except Exception as err:  # noqa: BLE001 - as in SmallPut
            self._refuse(err)
            self._respond(user)
            return
        shown = (tag or tag_of_sha256(digest)).encode()
        if crc is None:
            end = shared.ends[""] % (getrandbits(64), shown)
        else:
            end = shared.ends[crc[0]] % (getrandbits(64), shown, crc[1].encode())
        exchange.respond(begin_of_200(int(time())) + end)
        shared.requests.answered_exchange(exchange, 200, self._began_s, user)


def _crc_of(body: bytes, name: str, fields: Mapping[str, list[str]]) -> tuple[str, str] | None:
    """The field (in lower case) and the value of the CRC in the field `name`; None if it is not that of
    `body`, or if another algorithm is named."""
    one = _CRCS[name.lower()]
    made = one.make()
    made.update(body)
    value = encoded(made.digest())
    named = fields.get("X-Amz-Sdk-Checksum-Algorithm")
    is_right = fields[name] == [value] and (named is None or named == [one.name])
    return (one.header, value) if is_right else None
