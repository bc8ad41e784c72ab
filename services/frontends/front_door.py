"""Decides which front end a request is for: S3 under its host names and path, restic under /restic/, if they
are configured; else the native one.

The code of S3 and of restic is loaded only if the configuration turns them on, since it takes 15 ms of a
start. So these imports are in the functions that make the front ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tornado.httputil import HTTPConnection, HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application

from common.config import Config
from common.errors import BlobkeepError
from services.access.decisions import Access
from services.frontends import restic
from services.http1 import Exchange, RequestContext, RequestHead
from services.store import Multiparts, Store
from services.watch.request_log import RequestLog

if TYPE_CHECKING:
    from services.frontends.restic.small_uploads import SmallUploads
    from services.frontends.s3.app import S3FrontEnd

log = logging.getLogger("s3")

QuickAnswer = Callable[[RequestHead, RequestContext], tuple[bytes, bytes | memoryview] | None]

_SWEEP_EVERY_S = 3600.0


class FrontDoor(Router):
    """Serves the listening port. `s3`: that front end, None if it is not configured."""

    def __init__(
        self, native: Application, store: Store, config: Config, access: Access, requests: RequestLog
    ) -> None:
        self._native = native
        self._store = store
        self._access = access
        self._is_fast = config.fast_path
        self._expiry_s = config.multipart_expiry_s
        self.s3: S3FrontEnd | None = None
        self._s3_here: S3FrontEnd | None = None  # on the listening port
        self._restic: Application | None = None
        self._small_uploads: SmallUploads | None = None  # of restic
        if config.s3_hosts or config.s3_path or config.s3_listen:
            self.s3 = _make_s3(store, config, access, requests)
        if config.s3_hosts or config.s3_path:
            self._s3_here = self.s3
        if config.restic:
            self._restic = _make_restic(store, config, access, requests)
            self._small_uploads = _make_small_uploads(store, config, access, requests)

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """See HTTPServerConnectionDelegate."""
        if self._is_fast and isinstance(request_conn, Exchange):
            if self._s3_here is not None:
                fast_path = self._s3_here.fast_path_for(request_conn.head)
                if fast_path is not None:
                    return fast_path.start_request(server_conn, request_conn)
            if self._small_uploads is not None:
                taken = self._small_uploads.take(request_conn)
                if taken is not None:
                    return taken
        return super().start_request(server_conn, request_conn)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        """See Router."""
        if self._s3_here is not None and (s3 := self._s3_here.app_for(request)) is not None:
            return s3.find_handler(request, **kwargs)
        if (
            self._restic is not None
            and request.path.startswith(restic.PREFIX)
            and self._access.hosts.allows(request.headers.get("Host"))
        ):
            return self._restic.find_handler(request, **kwargs)
        return self._native.find_handler(request, **kwargs)

    def is_s3_host(self, host: str | None) -> bool:
        """Whether every request under this name is for S3, whatever its path."""
        return self._s3_here is not None and self._s3_here.is_host(host)

    def quick_answer(self, native: QuickAnswer) -> QuickAnswer:
        """The function that answers at once on the listening port (see http1.HTTPServer)."""
        s3 = self._s3_here
        if s3 is None:
            return native

        def answer(head: RequestHead, context: RequestContext) -> tuple[bytes, bytes | memoryview] | None:
            if head.memo is None:  # else it was the native one's before
                fast_path = s3.fast_path_for(head)
                if fast_path is not None:
                    return fast_path.quick_answer(head, context)
            return native(head, context)

        return answer

    async def keep_swept(self) -> None:
        """For ever, now and then: drop uploads in parts that nobody continues."""
        while True:
            await asyncio.sleep(min(_SWEEP_EVERY_S, self._expiry_s))
            with contextlib.suppress(BlobkeepError):  # the store has logged it; the next time will do
                swept = sum([await parts.sweep(self._expiry_s) for parts in _all_parts(self._store)])
                if swept:
                    log.info("%d uploads in parts or parts without one were dropped: expired", swept)


def _make_s3(store: Store, config: Config, access: Access, requests: RequestLog) -> S3FrontEnd:
    from services.frontends.s3.app import S3FrontEnd

    return S3FrontEnd(store, config, access, requests)


def _make_restic(store: Store, config: Config, access: Access, requests: RequestLog) -> Application:
    from services.frontends.restic.handlers import ResticHandler

    return Application(
        [(r".*", ResticHandler, {"store": store, "config": config, "access": access})],
        log_function=requests.handled,
        cross_origin_protection=True,  # no page of another site makes a browser write
    )


def _make_small_uploads(store: Store, config: Config, access: Access, requests: RequestLog) -> SmallUploads:
    from services.frontends.restic.small_uploads import SmallUploads

    return SmallUploads(store, access, requests, config)


def _all_parts(store: Store) -> list[Multiparts]:
    """Every place that may have parts of uploads, also if S3 is turned off by now.

    An engine with its own implementation may still have parts in blobs, since an earlier version kept them
    there.
    """
    from services.frontends.s3.parts_in_blobs import PartsInBlobs

    in_blobs = PartsInBlobs(store)
    return [in_blobs] if store.multiparts is None else [in_blobs, store.multiparts]
