"""One S3 request: its operation, its client, and its answer. The operations see nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from random import getrandbits
from typing import Protocol
from urllib.parse import quote

from common.config import Config
from common.errors import Forbidden
from services.access.decisions import Access, Action, Client
from services.frontends.s3 import sigv4
from services.frontends.s3.errors import S3Error
from services.frontends.s3.names import S3Target, text_of
from services.rules.answers import Fields, sent_common
from services.store import Multiparts, Reading, Store


class Answering(Protocol):
    """Where an answer goes: the HTTP side."""

    def begin(self, status: int, fields: Fields) -> None:
        """Status and fields; a field may occur more than once."""
        ...

    def write_piece(self, data: bytes) -> Awaitable[None]:
        """Send a piece of the body; done when the client can take more."""
        ...

    async def send_range(self, reading: Reading, first: int, last: int) -> None:
        """Send these bytes of a blob as the body; see handler.Handler."""
        ...


@dataclass(slots=True)
class Request:
    """See the module docstring. `fields`: by lower-case name, values joined by commas."""

    method: str
    target: S3Target
    query: dict[str, str]
    fields: Mapping[str, str]
    signed: sigv4.Claim | None
    secret: str
    client: Client | None
    store: Store
    parts: Multiparts
    config: Config
    access: Access
    answering: Answering

    @property
    def location(self) -> str:
        """The location of the object."""
        return self.target.location

    @property
    def user(self) -> str:
        """The client's name, for texts."""
        return "-" if self.client is None else self.client.name

    @property
    def may_update(self) -> bool:
        """False for a client that may only create."""
        return self.client is None or self.client.may(Action.UPDATE, self.location)

    def text(self, name: str, default: str = "") -> str:
        """A parameter of the query as text. Raises S3Error."""
        return text_of(self.query.get(name, default))

    def number(self, name: str, default: int, most: int) -> int:
        """A number of the query, at most `most`. Raises S3Error if it is not a number from 0 up."""
        text = self.query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 11):
            raise S3Error("InvalidArgument", f"{name} is not a number: {text[:20]!r}.", ArgumentName=name)
        return min(int(text), most)

    def check_encoding_type(self) -> None:
        """Raise S3Error if a listing is to have its keys in a form that there is not."""
        if self.query.get("encoding-type") not in (None, "url"):
            raise S3Error("InvalidArgument", "Invalid Encoding Method specified in Request")

    def check_version(self) -> None:
        """Raise S3Error for a version that cannot exist: every object has only the version `null`."""
        if self.query.get("versionId") not in (None, "null", ""):
            text = "The specified version does not exist: there are no versions here."
            raise S3Error("NoSuchVersion", text)

    def check(self, action: Action, location: str) -> None:
        """Raise Forbidden if the client's role or prefix denies it."""
        if self.client is not None:
            self.client.check(action, location)

    def check_update(self) -> None:
        """Raise Forbidden if the client may not replace an object."""
        self.check(Action.UPDATE, self.location)

    def check_bucket(self) -> None:
        """Raise Forbidden if the client may read nothing in the bucket."""
        if not self.sees(self.target.bucket):
            raise Forbidden(f"{self.user} may not use this bucket.")

    def sees(self, bucket: str) -> bool:
        """Whether the client may read something in `bucket`."""
        return self.client is None or self.client.sees(f"{bucket}/")

    def is_public(self, location: str) -> bool:
        """Whether everybody may read this location."""
        everybody = self.access.everybody
        return self.access.is_open or (everybody is not None and everybody.may(Action.READ, location))

    def key_shown(self, key: str) -> str:
        """`key` for an answer in XML: percent-encoded if the client asked for that."""
        return quote(key, safe="/-_.~*") if self.query.get("encoding-type") == "url" else key

    def send(self, status: int, body: bytes = b"", fields: Fields | None = None) -> None:
        """Send a whole answer; a body is XML."""
        given = list(fields or ())
        if body:
            given.append(("Content-Type", "application/xml"))
        if status not in (204, 304):
            given.append(("Content-Length", str(len(body))))
        self.answering.begin(status, given)
        if body:
            self.answering.write_piece(body)


def new_request_id() -> str:
    """A name for one answer, for clients' logs; not a secret."""
    return f"{getrandbits(64):016X}"


@lru_cache(2)
def begin_of_200(now_s: int) -> bytes:
    """The beginning of every 200 within one second, up to the request id."""
    return b"HTTP/1.1 200 OK\r\n" + sent_common(now_s) + b"x-amz-request-id: "


class Operation:
    """One operation under way: `begin`, then `write` for each piece of the body, then `answer`.

    Exactly one of `answer` and `abort` ends it.
    """

    def __init__(self, request: Request) -> None:
        self.request = request

    async def begin(self) -> None:
        """Called before the body, and before a 100 Continue: raise what refuses the request."""

    def take(self, data: bytes) -> Awaitable[None] | None:
        """As `write`. None: nothing is to be waited for, which saves a task and a turn of the loop."""
        return self.write(data)

    async def write(self, data: bytes) -> None:
        """Take a piece of the body. An operation that needs no body drops it."""

    async def answer(self) -> None:
        """Called when the body is complete: do the operation, and answer."""
        raise NotImplementedError

    async def abort(self, reason: str) -> None:
        """End the operation and release what it holds. May be called at any time, also after an error."""
