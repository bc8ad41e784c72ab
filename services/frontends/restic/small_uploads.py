"""Plain uploads of small files without a RequestHandler, which would take longer than everything else.

A backup's index files, snapshots, locks and last packs are small. The handler takes all other requests, and
defines the behaviour (handlers.py); tests/restic/test_small_uploads.py compares the two.
"""

from __future__ import annotations

import contextlib
from hashlib import sha256
from time import perf_counter

from tornado.httputil import HTTPMessageDelegate

from common.config import Config
from common.errors import AlreadyExists, BadRequest, BlobkeepError, Damaged
from services.access.decisions import Access, Action
from services.frontends.native.errors import answer_without_handler
from services.frontends.native.quick_reads import authorization_of, is_plain, user_of, whole_answer
from services.frontends.restic import PREFIX
from services.frontends.restic.conditions import upload_condition
from services.frontends.restic.names import FILE_TYPE, REFUSAL, Named, parse_path
from services.frontends.shortcut import WholeRequest
from services.http1 import Exchange
from services.rules.answers import Fields
from services.rules.cors import origins_of
from services.store import Store
from services.watch.request_log import RequestLog


class SmallUploads:
    """Answers a POST of a file whose name is a hash, if its body came with its head."""

    def __init__(self, store: Store, access: Access, requests: RequestLog, config: Config) -> None:
        self.store = store
        self._access = access
        self._requests = requests
        self._small_bytes = config.small_body_bytes
        self.cors = origins_of(config.cors_origins).answer_fields(None)

    def take(self, exchange: Exchange) -> HTTPMessageDelegate | None:
        """See shortcut.Shortcut."""
        head = exchange.head
        method, target, _ = head.start_line
        access = self._access
        if (
            method != "POST"
            or not target.startswith(PREFIX)
            or "%" in target
            or "?" in target
            or not exchange.body_is_here
            or not 0 < head.body_bytes <= self._small_bytes
            or not is_plain(head.block, writing=True)
            or not access.hosts.allows(head.host)
        ):
            return None
        try:
            named = parse_path(target)
        except BlobkeepError:
            return None
        if not named.sha256 or not access.permits(Action.CREATE, named.location, authorization_of(head)):
            return None
        return _SmallUpload(exchange, named, self)

    def answered(self, exchange: Exchange, status: int, began_s: float) -> None:
        """Count and log an answer."""
        user = "-" if self._requests.access is None else user_of(self._access, exchange.head)
        self._requests.answered_exchange(exchange, status, began_s, user)


class _SmallUpload(WholeRequest):
    """One such request."""

    def __init__(self, exchange: Exchange, named: Named, owner: SmallUploads) -> None:
        self._began_s = perf_counter()
        self._exchange = exchange
        self._named = named
        self._owner = owner

    async def _answer(self) -> None:
        exchange, owner = self._exchange, self._owner
        status, body = 200, b""
        fields: Fields = []
        try:
            await self._store()
        except Exception as err:  # noqa: BLE001 - answered, and logged where it is none of ours
            status, fields, body = answer_without_handler(exchange.head, err)
        exchange.respond(*whole_answer(status, [*fields, *owner.cors], body))
        owner.answered(exchange, status, self._began_s)

    async def _store(self) -> None:
        """Returns once the file is durable, also where it was there already. Raises what refuses it."""
        named, store = self._named, self._owner.store
        condition = upload_condition(named, lambda: None)  # which asks it only about a config
        digest = sha256(self._body).digest()
        if digest.hex() == named.sha256:
            with contextlib.suppress(AlreadyExists):
                await store.write_whole(named.location, condition, FILE_TYPE, self._body, digest)
            return
        with contextlib.suppress(AlreadyExists, Damaged):  # what the handler would find first
            condition(await store.stat(named.location), False)
        raise BadRequest(REFUSAL)
