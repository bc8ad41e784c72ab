"""What every native handler does alike: errors as JSON, 405 with Allow, OPTIONS, common fields."""

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
from services.frontends.native.headers import FORWARDED_PREFIX, PREFIX, Fields, forwarded
from services.frontends.statuses import UNEXPECTED
from services.rules.answers import common_fields, error_body

# What a method does to a blob. A PUT of what is there is an update: its condition asks again, with the blob.
ACTIONS = {
    **dict.fromkeys(("GET", "HEAD", "OPTIONS", "PROPFIND"), Action.READ),
    **dict.fromkeys(("POST", "PUT", "MKCOL"), Action.CREATE),
    "DELETE": Action.DELETE,
}

_CROSS_ORIGIN = "A page of another origin asks in its reader's name: only our own pages may write."


class BaseHandler(Handler):
    """A handler of one kind of resource; `ALLOW` lists its methods. `ALSO`: those of other protocols, for
    which OpenAPI has no words.

    `PUBLIC`: anyone may ask, without a token. `TAKES_LINKS`: a signed link is as good as one. `ASKS_LATER`:
    anyone who is known may, and each method asks what the client may do once it knows the location.
    `client`: who asks; None where everybody may do everything.
    """

    ALLOW = "GET, HEAD, OPTIONS"
    ALSO: tuple[str, ...] = ()
    SUPPORTED_METHODS = (*Handler.SUPPORTED_METHODS, "PROPFIND", "MKCOL", "LOCK", "UNLOCK")
    PUBLIC = False
    TAKES_LINKS = False
    ASKS_LATER = False
    client: Client | None = None

    @final
    def prepare(self) -> Awaitable[None] | None:
        """Before anything else, body and 100 Continue included: whether this client may do this. Handlers
        have `before_body` in its place, so none can forget to ask."""
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
        """Who asks without saying who it is. Raises Unauthorized, also for what is no location."""
        try:
            action, location = self.asked()
        except BadRequest:
            return self.access.unnamed(self.action(), None)
        if self.TAKES_LINKS and location is not None and links.is_link(self.request.query):
            return links.holder(self.access.link_key, action, location, self.request.query, time.time())
        return self.access.unnamed(action, location)

    def asked(self) -> tuple[Action, str | None]:
        """What the request would do, and where: see Client.check. Raises BadRequest for no location."""
        return self.action(), None

    def action(self) -> Action:
        """What the method does. One that nobody knows is refused to all who may not do everything."""
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
        """What Allow says."""
        return ", ".join((self.ALLOW, *self.ALSO))

    def before_body(self) -> Awaitable[None] | None:
        """For handlers: raise what refuses the request before its body is read."""
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

    async def is_folder(self, folder: str) -> bool:
        """Whether something lies under `folder`, which ends in a slash, or is empty."""
        page = await self.store.list(folder, "/", "", 1)
        return bool(page.blobs or page.prefixes)

    @property
    def prefix(self) -> str:
        """What the paths of locations begin with, where a proxy shows us under a path of its own, too."""
        return forwarded(self.request.headers.get(FORWARDED_PREFIX)) + PREFIX

    def send_multistatus(self, body: bytes) -> None:
        """Answer a PROPFIND."""
        self.set_status(207, "Multi-Status")
        self.set_header("Content-Type", 'application/xml; charset="utf-8"')
        self.finish(body)

    def send_json(self, value: object) -> Awaitable[None]:
        """Answer with `value` as JSON. What is returned is done when the client has taken all but a little
        of it; it raises StreamClosedError where the client leaves. It need not be awaited."""
        self.set_header("Content-Type", "application/json")
        return self.finish(errors.to_json(value))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an exception that a handler let go; Tornado calls this."""
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
                text = "A page of another origin asks in its reader's name: only our own pages may write."
            elif status_code >= 500:
                text = UNEXPECTED
            body = error_body(status_code, text)
            self.set_header("Content-Type", "application/json")
        self.close_where_unread()
        self.finish(body)


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
