"""What every handler does alike: errors as JSON, 405 with Allow, OPTIONS, nothing added to the headers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from http.client import responses
from typing import Any, final

from tornado.web import HTTPError, RequestHandler, stream_request_body

from common.config import Config
from common.errors import BlobkeepError, NotFound
from services import http_errors
from services.access import Access
from services.store import Store

log = logging.getLogger("http")


@stream_request_body
class BaseHandler(RequestHandler):
    """A handler of one kind of resource; `ALLOW` lists its methods.

    `PUBLIC`: anyone may ask, without a token. `user`: who asks, as the access file calls them, or "-".
    `may_update`: False for those who may only create.
    """

    ALLOW = "GET, HEAD, OPTIONS"
    PUBLIC = False
    store: Store
    config: Config
    access: Access
    user = "-"
    may_update = True

    def initialize(self, store: Store, config: Config, access: Access) -> None:
        self.store = store
        self.config = config
        self.access = access

    @final
    def prepare(self) -> Awaitable[None] | None:
        """Before anything else, body and 100 Continue included: whether this client may do this. Handlers
        have `before_body` in its place, so none can forget to ask."""
        if self.PUBLIC or self.access.is_open:
            return self._check()
        return self._admit()

    async def _admit(self) -> None:
        request = self.request
        client = await self.access.identify(request.headers.get("Authorization"))
        client.check(request.method or "", request.path, request.query)
        self.user = client.name
        self.may_update = client.may_update
        checking = self._check()
        if checking is not None:
            await checking

    def _check(self) -> Awaitable[None] | None:
        if self.request.method not in self.ALLOW.split(", "):
            raise HTTPError(405)
        return self.before_body()

    def before_body(self) -> Awaitable[None] | None:
        """For handlers: raise what refuses the request before its body is read."""
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """A body that nobody wants, such as a GET's, is dropped as it comes: kept, it could fill memory."""
        return None

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
            for name, value in http_errors.headers_of(err):
                self.add_header(name, value)
        elif status_code == 405:
            self.set_header("Allow", self.ALLOW)
            text = f"This resource knows {self.ALLOW}."
        elif status_code == 403:  # Tornado's cross_origin_protection; our own are Forbidden
            text = (
                "A page of another origin asks for this in its reader's name: only our own pages may write."
            )
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

    ALLOW = ", ".join(RequestHandler.SUPPORTED_METHODS)

    def before_body(self) -> None:
        raise NotFound("There is nothing here: blobs are under /store/.")
