"""Shared by all native handlers: errors as JSON, 405 with Allow, OPTIONS, common fields."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from http.client import responses
from typing import Any, NoReturn, final

from tornado.web import HTTPError

from common.errors import BadRequest, BlobkeepError, NotFound
from services.access import links
from services.access.decisions import Action, Client
from services.frontends.handler import Handler
from services.frontends.native import errors
from services.frontends.native.headers import FORWARDED_PREFIX, PREFIX, forwarded
from services.frontends.statuses import UNEXPECTED
from services.rules.answers import Fields, common_fields, error_body

# What a method does to a blob. A PUT of an existing blob is an update: its condition checks that again.
ACTIONS = {
    **dict.fromkeys(("GET", "HEAD", "OPTIONS", "PROPFIND"), Action.READ),
    **dict.fromkeys(("POST", "PUT", "MKCOL"), Action.CREATE),
    "DELETE": Action.DELETE,
}

_CROSS_ORIGIN = "A page of another origin asks in its reader's name: only our own pages may write."


class _Every(tuple[str, ...]):
    """Every method. Tornado would refuse one that it does not know before the path and the rights are looked
    at; `_check` refuses it after that, as any other that a resource does not have."""

    def __contains__(self, method: object) -> bool:
        return True


class BaseHandler(Handler):
    """A handler of one kind of resource; `ALLOW` lists its methods. `ALSO`: methods of other protocols, which
    OpenAPI cannot describe.

    `PUBLIC`: no token is needed. `TAKES_LINKS`: a signed link is as good as a token. `ASKS_LATER`: any known
    client is let in, and each method checks its rights when it knows the location. `client`: the client; None
    if everybody may do everything.
    """

    ALLOW = "GET, HEAD, OPTIONS"
    ALSO: tuple[str, ...] = ()
    SUPPORTED_METHODS = _Every()
    PUBLIC = False
    TAKES_LINKS = False
    ASKS_LATER = False
    client: Client | None = None

    @final
    def prepare(self) -> Awaitable[None] | None:
        """Check the rights before anything else, before the body and a 100 Continue. Handlers override
        `before_body`, so none can forget the check."""
        if self.answers_preflight():
            return None
        if self.PUBLIC or self.access.is_open:
            return self._check()
        return self._admit()

    async def _admit(self) -> None:
        authorization = self.request.headers.get("Authorization")
        if authorization:
            client = await self.access.identify(authorization)
        else:
            client = self._unnamed()
        self.client = client
        self.user = client.name
        if not self.ASKS_LATER:
            client.check(*self.asked())
        checking = self._check()
        if checking is not None:
            await checking

    def _unnamed(self) -> Client:
        """The client of a request without a token. Raises Unauthorized, also for an invalid location."""
        try:
            action, location = self.asked()
        except BadRequest:
            return self.access.unnamed(self.action(), None)
        if self.TAKES_LINKS and location is not None and links.is_link(self.request.query):
            return links.holder(self.access.link_key, action, location, self.request.query, time.time())
        return self.access.unnamed(action, location)

    def asked(self) -> tuple[Action, str | None]:
        """The action and the location of the request: see Client.check. Raises BadRequest for no location."""
        return self.action(), None

    def action(self) -> Action:
        """The action of the method. An unknown one needs the right to everything."""
        return ACTIONS.get(self.request.method or "", Action.UPDATE)

    def _check(self) -> Awaitable[None] | None:
        if self.request.method not in self.allowed().split(", "):
            self.refuse_method()
        self.take_expect()
        return self.before_body()

    def refuse_method(self) -> NoReturn:
        """Refuse a method that is not in `allowed`: 405."""
        raise HTTPError(405)

    def allowed(self) -> str:
        """The value of Allow."""
        return ", ".join((self.ALLOW, *self.ALSO))

    def before_body(self) -> Awaitable[None] | None:
        """For handlers: raise the reason to refuse the request before its body is read."""
        return None

    def set_default_headers(self) -> None:
        for name in ("Server", "Content-Type", "Date"):  # Tornado's
            self.clear_header(name)
        self.set_fields(common_fields(int(time.time())))

    def set_fields(self, fields: Fields) -> None:
        """Set several header fields, in this order."""
        for name, value in fields:
            self.set_header(name, value)

    def options(self, *args: str) -> None:
        """204 with Allow (RFC 9110, section 9.3.7)."""
        self.set_header("Allow", self.allowed())
        self.set_status(204)

    async def is_anything_under(self, prefix: str) -> bool:
        """Whether there is a blob whose location starts with `prefix`."""
        page = await self.store.list(prefix, "/", "", 1)
        return bool(page.blobs or page.prefixes)

    @property
    def prefix(self) -> str:
        """The beginning of the paths of locations, also behind a proxy that adds a path of its own."""
        return forwarded(self.request.headers.get(FORWARDED_PREFIX)) + PREFIX

    def send_multistatus(self, body: bytes) -> None:
        """Answer a PROPFIND."""
        self.set_status(207, "Multi-Status")
        self.set_header("Content-Type", 'application/xml; charset="utf-8"')
        self.finish(body)

    def send_json(self, value: object) -> Awaitable[None]:
        """Answer with `value` as JSON. It need not be awaited: the future is done when the client has taken
        nearly all of it, and raises StreamClosedError if the client leaves."""
        self.set_header("Content-Type", "application/json")
        return self.finish(errors.to_json(value))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an exception that a handler did not catch; Tornado calls this."""
        err = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        if isinstance(err, BlobkeepError):
            by_script = self.request.headers.get("X-Requested-With") == "XMLHttpRequest"
            status_code, fields, body = errors.answer_to(err, by_script=by_script)
            self.set_status(status_code)
            for name, value in fields:
                self.add_header(name, value)
        else:
            text = responses.get(status_code, "Error") + "."
            if status_code == 405:
                self.set_header("Allow", self.allowed())
                text = f"This resource knows {self.allowed()}."
            elif status_code == 403:  # Tornado's cross_origin_protection; our own are Forbidden
                text = _CROSS_ORIGIN
            elif status_code >= 500:
                text = UNEXPECTED
            body = error_body(status_code, text)
            self.set_header("Content-Type", "application/json")
        self.close_where_unread()
        self.finish(body)


class UnknownHandler(BaseHandler):
    """All other paths: 404, whatever the method is. A 405 is about a resource that is there (RFC 9110,
    section 15.5.6)."""

    ALLOW = "GET, HEAD, POST, PUT, DELETE, OPTIONS"

    def before_body(self) -> None:
        self.refuse_method()

    def refuse_method(self) -> NoReturn:
        """See BaseHandler."""
        raise NotFound("There is nothing here: blobs are under /store/.")


class MisdirectedHandler(UnknownHandler):
    """Every path, under a host name that is not allowed."""

    PUBLIC = True

    def refuse_method(self) -> NoReturn:
        """See BaseHandler."""
        self.access.hosts.check(self.request.headers.get("Host"))
        raise AssertionError("the name is ours")


class ServerHandler(UnknownHandler):
    """`OPTIONS *`: what the server as a whole knows (RFC 9110, section 9.3.7)."""

    def before_body(self) -> None:
        if self.request.method != "OPTIONS":
            super().before_body()
