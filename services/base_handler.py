"""What every handler does alike: errors as JSON, 405 with Allow, OPTIONS, nothing added to the headers."""

from __future__ import annotations

import logging
from http.client import responses
from typing import Any

from tornado.web import HTTPError, RequestHandler

from common.config import Config
from common.errors import BlobkeepError
from services import http_errors
from services.store import Store

log = logging.getLogger("http")


class BaseHandler(RequestHandler):
    """A handler of one kind of resource; `ALLOW` lists its methods."""

    ALLOW = "GET, HEAD, OPTIONS"
    store: Store
    config: Config

    def initialize(self, store: Store, config: Config) -> None:
        self.store = store
        self.config = config

    def set_default_headers(self) -> None:
        self.clear_header("Content-Type")
        self.set_header("Server", "Blobkeep")

    def compute_etag(self) -> str | None:
        """Tags are the blobs' own, which handlers set; never a hash of an answer."""
        return None

    def options(self, *args: str) -> None:
        """204 with Allow (RFC 9110, section 9.3.7)."""
        self.set_header("Allow", self.ALLOW)
        self.set_status(204)

    def send_json(self, value: object) -> None:
        """Answer with `value` as JSON."""
        self.set_header("Content-Type", "application/json")
        self.finish(http_errors.to_json(value))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an exception that a handler let go; Tornado calls this."""
        err = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        text = responses.get(status_code, "Error") + "."
        if isinstance(err, BlobkeepError):
            status_code, text = http_errors.status_of(err), str(err)
            self.set_status(status_code)
            for name, value in http_errors.headers_of(err).items():
                self.set_header(name, value)
        elif status_code == 405:
            self.set_header("Allow", self.ALLOW)
            text = f"This resource knows {self.ALLOW}."
        elif status_code >= 500:
            text = "The server met an error that it did not expect: see its log."
        self.set_header("Content-Type", "application/json")
        if status_code >= 400 and self.request.method in ("POST", "PUT"):
            # The body may still be on its way: it is not read, so the connection cannot go on.
            self.set_header("Connection", "close")
        self.finish(http_errors.body(status_code, text))

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Expected errors are the client's; only the others are logged, once, here."""
        if not isinstance(value, BlobkeepError | HTTPError):
            log.error("%s failed", self._request_summary(), exc_info=(typ, value, tb))  # type: ignore[arg-type]


class UnknownHandler(BaseHandler):
    """Every path that is nobody's."""

    def prepare(self) -> None:
        self.set_status(404)
        self.set_header("Content-Type", "application/json")
        self.finish(http_errors.body(404, "There is nothing here: blobs are under /store/."))
