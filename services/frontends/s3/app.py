"""The S3 front end as Tornado applications to which every path belongs, each with its fast path."""

from __future__ import annotations

from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import Application

from common.config import Config
from services.access.decisions import Access
from services.frontends.s3.fast_path import S3FastPath
from services.frontends.s3.handler import S3Handler
from services.frontends.s3.names import is_host_of_s3, s3_hosts
from services.frontends.s3.parts_in_blobs import parts_of
from services.http1 import RequestHead
from services.store import Store
from services.watch.request_log import RequestLog


class S3FrontEnd:
    """What serves `store` as S3.

    `app` and `fast_path` are for a port that speaks only S3, and for the host names of S3. On a shared port
    `app_for` and `fast_path_for` decide whether a request is for S3: under those names, or under `s3_path`.
    """

    def __init__(self, store: Store, config: Config, access: Access, requests: RequestLog) -> None:
        self._hosts = s3_hosts(config)
        self._path = config.s3_path
        self.app = _make_app(store, config, access, requests, base="")
        self.fast_path = S3FastPath(self.app, store, access, requests, config)
        self._under_path = _make_app(store, config, access, requests, base=self._path)
        self._fast_under_path = S3FastPath(self._under_path, store, access, requests, config, base=self._path)

    def app_for(self, request: HTTPServerRequest) -> Application | None:
        """The application that `request` is for; None if it is for another front end."""
        if self.is_host(request.headers.get("Host")):
            return self.app
        return self._under_path if self._is_under_path(request.path) else None

    def fast_path_for(self, head: RequestHead) -> S3FastPath | None:
        """The fast path that the request is for; None if it is for another front end."""
        if is_host_of_s3(head.host, self._hosts):
            return self.fast_path
        if not self._path:
            return None
        path = head.start_line.path.partition("?")[0]
        return self._fast_under_path if self._is_under_path(path) else None

    def is_host(self, host: str | None) -> bool:
        """Whether every request under this host name is for S3, whatever its path."""
        return is_host_of_s3(host, self._hosts)

    def _is_under_path(self, path: str) -> bool:
        return bool(self._path) and (path == self._path or path.startswith(self._path + "/"))


def _make_app(
    store: Store, config: Config, access: Access, requests: RequestLog, *, base: str
) -> Application:
    """An application whose paths begin with `base`, without a slash at the end."""
    shared: dict[str, Any] = {
        "store": store,
        "parts": parts_of(store),
        "config": config,
        "access": access,
        "base": base,
        "hosts": s3_hosts(config),
    }
    return Application(
        [(r".*", S3Handler, shared)],
        log_function=requests.handled,
        cross_origin_protection=True,  # no page of another site may make a browser write without a signature
    )
