"""What every handler does alike: errors as JSON, 405 with Allow, OPTIONS, the fields of every answer.

Bodies are streamed to all handlers, so that no request can fill the memory: one that wants none drops it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable
from http.client import responses
from typing import Any, NoReturn, final

from tornado.web import HTTPError, RequestHandler, stream_request_body

from common.config import Config
from common.errors import BlobkeepError, NotFound
from services.access.decisions import Access
from services.frontends.native import errors
from services.frontends.native.headers import Fields
from services.rules.answers import common_fields, error_body
from services.rules.uploads import parse_expect
from services.store import Store

log = logging.getLogger("http")

CLIENT_LEFT = 499  # for logs and metrics alone, as nginx calls it: there was nobody to answer


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
        self.user = client.name
        client.check(request.method or "", request.path, request.query)
        self.may_update = client.may_update
        checking = self._check()
        if checking is not None:
            await checking

    def _check(self) -> Awaitable[None] | None:
        if self.request.method not in self.ALLOW.split(", "):
            self.refuse_method()
        expect = self.request.headers.get("Expect")
        if expect is not None:  # Tornado's own connection compares it letter by letter, in HTTP/1.0 too
            waits = parse_expect(expect) and self.request.version != "HTTP/1.0"
            self.request.headers["Expect"] = "100-continue" if waits else ""
        return self.before_body()

    def refuse_method(self) -> NoReturn:
        """Refuse a method that is not in `ALLOW`: 405."""
        raise HTTPError(405)

    def before_body(self) -> Awaitable[None] | None:
        """For handlers: raise what refuses the request before its body is read."""
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """A body that nobody wants, such as a GET's, is dropped as it comes: kept, it could fill memory."""
        return None

    def set_default_headers(self) -> None:
        for name in ("Server", "Content-Type", "Date"):  # Tornado's
            self.clear_header(name)
        self.set_fields(common_fields(int(time.time())))

    def set_fields(self, fields: Fields) -> None:
        """Set several header fields, in this order."""
        for name, value in fields:
            self.set_header(name, value)

    def compute_etag(self) -> str | None:
        """Tags are the blobs' own, which handlers set; never a hash of an answer."""
        return None

    def options(self, *args: str) -> None:
        """204 with Allow (RFC 9110, section 9.3.7)."""
        self.set_header("Allow", self.ALLOW)
        self.set_status(204)

    def send_json(self, value: object) -> Awaitable[None]:
        """Answer with `value` as JSON. What is returned is done when the client has taken all but a little
        of it; it raises StreamClosedError where the client leaves. It need not be awaited."""
        self.set_header("Content-Type", "application/json")
        return self.finish(errors.to_json(value))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an exception that a handler let go; Tornado calls this."""
        err = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        text = responses.get(status_code, "Error") + "."
        if isinstance(err, BlobkeepError):
            status_code, text = errors.status_of(err), str(err)
            self.set_status(status_code)
            by_script = self.request.headers.get("X-Requested-With") == "XMLHttpRequest"
            for name, value in errors.headers_of(err, by_script=by_script):
                self.add_header(name, value)
        elif status_code == 405:
            self.set_header("Allow", self.ALLOW)
            text = f"This resource knows {self.ALLOW}."
        elif status_code == 403:  # Tornado's cross_origin_protection; our own are Forbidden
            text = (
                "A page of another origin asks for this in its reader's name: only our own pages may write."
            )
        elif status_code >= 500:
            text = errors.UNEXPECTED
        self.set_header("Content-Type", "application/json")
        if self.config.http == "tornado" and not self.request._body_future.done():
            # Tornado's connection closes after an answer before the end of a request, but does not say so.
            # Ours keeps it where nothing of a body is left to come, and says what it does.
            self.set_header("Connection", "close")
        self.finish(error_body(status_code, text))

    def on_connection_close(self) -> None:
        """The client has left. If that was before its request was whole, nobody else counts and logs it."""
        whole = self.request._body_future.done()
        super().on_connection_close()
        stream: Any = self.request.connection.stream  # type: ignore[union-attr]
        refused = stream is not None and not stream.closed()  # then the connection tells of it
        if not whole and not refused:
            self.set_status(CLIENT_LEFT, "Client Left")
            self.application.log_request(self)

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Expected errors are the client's; only the others are logged, once, here."""
        if not isinstance(value, BlobkeepError | HTTPError):
            log.error("%s failed", self._request_summary(), exc_info=(typ, value, tb))  # type: ignore[arg-type]


class UnknownHandler(BaseHandler):
    """Every path that is nobody's."""

    ALLOW = "GET, HEAD, POST, PUT, DELETE, OPTIONS"

    def before_body(self) -> None:
        raise NotFound("There is nothing here: blobs are under /store/.")


class MisdirectedHandler(UnknownHandler):
    """Every path, under a host name that is not ours."""

    PUBLIC = True

    def before_body(self) -> None:
        self.access.hosts.check(self.request.headers.get("Host"))
        raise AssertionError("the name is ours")


class ServerHandler(UnknownHandler):
    """`OPTIONS *`: what the server as a whole knows (RFC 9110, section 9.3.7)."""

    def before_body(self) -> None:
        if self.request.method != "OPTIONS":
            super().before_body()
