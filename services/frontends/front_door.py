"""Which front end a request is for: S3 under its host names and its path, restic under /restic/, where the
configuration says so; the native one for everything else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from tornado.httputil import HTTPConnection, HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application

from common.config import Config
from common.errors import BlobkeepError
from services.access.decisions import Access
from services.frontends.restic.handlers import ResticHandler
from services.frontends.restic.names import PREFIX
from services.frontends.s3.app import make_s3_app
from services.frontends.s3.fast_path import S3FastPath
from services.frontends.s3.names import is_host_of_s3, s3_hosts
from services.frontends.s3.parts_in_blobs import PartsInBlobs
from services.http1 import Exchange, RequestContext, RequestHead
from services.store import Multiparts, Store
from services.watch.request_log import RequestLog

log = logging.getLogger("s3")

QuickAnswer = Callable[[RequestHead, RequestContext], tuple[bytes, bytes] | None]

_SWEEP_EVERY_S = 3600.0


class FrontDoor(Router):
    """On the listening port: `native` and S3. `s3`: an application for a port that speaks S3 alone."""

    def __init__(
        self, native: Application, store: Store, config: Config, access: Access, requests: RequestLog
    ) -> None:
        self._native = native
        self._hosts = s3_hosts(config)
        self._path = config.s3_path
        self.s3 = make_s3_app(store, config, access, requests)
        self._under_path = make_s3_app(store, config, access, requests, base=config.s3_path)
        self.s3_fast_path = S3FastPath(self.s3, store, access, requests, config)
        self._fast_under_path = S3FastPath(
            self._under_path, store, access, requests, config, base=config.s3_path
        )
        self._is_fast = config.fast_path
        shared = {"store": store, "config": config, "access": access}
        self._restic = Application(
            [(r".*", ResticHandler, shared)],
            log_function=requests.handled,
            cross_origin_protection=True,  # no page of another site makes a browser write
        )
        self._serves_restic = config.restic
        self._access = access
        # Of an engine that has a way of its own, an earlier version kept parts in blobs.
        self._sweeping: list[Multiparts] = [PartsInBlobs(store)]
        if store.multiparts is not None:
            self._sweeping.append(store.multiparts)
        self._expiry_s = config.multipart_expiry_s

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """See HTTPServerConnectionDelegate."""
        if self._is_fast and isinstance(request_conn, Exchange):
            fast_path = self._fast_path_of(request_conn.head)
            if fast_path is not None:
                return fast_path.start_request(server_conn, request_conn)
        return super().start_request(server_conn, request_conn)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        """See Router."""
        if self.is_s3_host(request.headers.get("Host")):
            return self.s3.find_handler(request, **kwargs)
        if self._is_under_path(request.path):
            return self._under_path.find_handler(request, **kwargs)
        is_restic = self._serves_restic and request.path.startswith(PREFIX)
        if is_restic and self._access.hosts.allows(request.headers.get("Host")):
            return self._restic.find_handler(request, **kwargs)
        return self._native.find_handler(request, **kwargs)

    def is_s3_host(self, host: str | None) -> bool:
        """Whether a request under this name is for S3, whatever its path is."""
        return is_host_of_s3(host, self._hosts)

    def _is_under_path(self, path: str) -> bool:
        return bool(self._path) and (path == self._path or path.startswith(self._path + "/"))

    def quick_answer(self, native: QuickAnswer) -> QuickAnswer:
        """What answers at once on the listening port (see http1.HTTPServer): `native` first, which takes
        nothing of another front end's."""
        if not self._hosts and not self._path:
            return native

        def answer(head: RequestHead, context: RequestContext) -> tuple[bytes, bytes] | None:
            found = native(head, context)
            if found is not None:
                return found
            fast_path = self._fast_path_of(head)
            return None if fast_path is None else fast_path.quick_answer(head, context)

        return answer

    def _fast_path_of(self, head: RequestHead) -> S3FastPath | None:
        """Whose a request of S3 is; None for those of other front ends."""
        if self.is_s3_host(head.headers.get("Host")):
            return self.s3_fast_path
        if self._path and self._is_under_path(head.start_line.path.partition("?")[0]):
            return self._fast_under_path
        return None

    async def keep_swept(self) -> None:
        """Now and then, for ever: drop uploads in parts that nobody goes on with."""
        while True:
            await asyncio.sleep(min(_SWEEP_EVERY_S, self._expiry_s))
            with contextlib.suppress(BlobkeepError):  # the store has logged it; the next time will do
                swept = sum([await parts.sweep(self._expiry_s) for parts in self._sweeping])
                if swept:
                    log.info("%d uploads in parts or parts without one were dropped: expired", swept)
