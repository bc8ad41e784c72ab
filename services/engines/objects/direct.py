"""Sends the most frequent requests on our own connections: GETs and small conditional PUTs.

obstore hands each request to its own threads and back, which takes three times the processor time of the
request itself. It still does the rest: large bodies, TLS (its threads sign and encrypt beside the loop),
roles of machines, proxies, and answers without a declared length.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Awaitable
from urllib.parse import quote, urlsplit
from urllib.request import getproxies_environment

from common.checksum import Bytes
from services.engines.objects.bucket import UNCHANGED, Got, Refused, Unchanged
from services.engines.objects.connections import SHORT_BYTES, Connections, Response
from services.engines.objects.settings import Settings
from services.engines.objects.signing import Signer

_PLAIN = re.compile(r"[0-9A-Za-z/._~-]+")
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_SHOWN_BYTES = 500  # of an error's body
_MOST_BYTES = 5 << 30  # of an object that is written in one request
# To sign a body takes 800 µs a MiB: a longer one is signed in obstore's threads, beside the loop.
MAX_PUT_BYTES = 64 << 10
# The head of a GET is used again for so long: stores take a signature for 15 minutes.
_SIGNED_FOR_S = 16
_MAX_SIGNED = 1024  # heads, of some 600 bytes


class Unusual(Exception):
    """An answer that this code does not read: send the request through obstore.

    `always`: it is an object, so this store's answers are all of this kind.
    """

    def __init__(self, *, always: bool) -> None:
        self.always = always


class WrongStatus(OSError):
    """The store answered with an error. Its text names it, like that of obstore's errors.

    `retry_after_s`: how long the store asks to wait; 0 if it does not.
    """

    retry_after_s = 0.0


def direct_to(settings: Settings) -> Direct | None:
    """None if obstore must send all requests."""
    url = urlsplit(settings.endpoint)
    plain = url.scheme == "http" and url.hostname and url.netloc.isascii() and not settings.virtual_hosts
    if not plain or settings.credentials is None or getproxies_environment().keys() - {"no"}:
        return None
    return Direct(settings)


class Direct:
    """Paths are whole keys, with the prefix. Raises OSError for a lost connection, or WrongStatus."""

    def __init__(self, settings: Settings) -> None:
        url = urlsplit(settings.endpoint)
        assert settings.credentials is not None
        self._signer = Signer(url.netloc, settings.region, settings.credentials)
        self._bucket = f"/{quote(settings.bucket, safe='-._~')}/"
        self._connections = Connections(
            url.hostname or "", url.port or 80, settings.connect_timeout_s, settings.request_timeout_s
        )
        self._head_of_get = functools.lru_cache(_MAX_SIGNED)(self._signed_get)

    async def get(
        self, path: str, first: int = 0, limit: int | None = None, within_s: float | None = None
    ) -> Got | None:
        """See bucket.Bucket. Raises Unusual, too. `within_s`: how long it may take."""
        asked = ""
        if limit is not None:
            asked = f"range:bytes={first}-{first + limit - 1}"
        elif first:
            asked = f"range:bytes={first}-"
        most_bytes = max(limit, SHORT_BYTES) if limit is not None else _MOST_BYTES
        answer = await self._ask(path, asked, most_bytes, within_s)
        got = _got(answer, 206 if asked else 200)
        if asked and got is not None:
            return got._replace(size=_whole_size(answer, first, len(got.data)))
        return got

    async def get_changed(self, path: str, etag: str, within_s: float) -> Got | Unchanged | None:
        """See bucket.Bucket. Raises Unusual, too."""
        answer = await self._ask(path, f"if-none-match:{etag}", _MOST_BYTES, within_s)
        if answer.status != 304:
            return _got(answer, 200)
        if _etag(answer).strip('"') not in ("", etag.strip('"')):
            raise WrongStatus("the store says that another object than ours is unchanged")
        return UNCHANGED

    async def swap(self, path: str, data: Bytes, etag: str | None) -> str:
        """Replace the object with this ETag, or with None create one; the new ETag. Raises Refused."""
        condition = "if-none-match:*" if etag is None else f"if-match:{etag}"
        head = self._signer.head("PUT", self._target(path), data, condition, int(time.time()))
        answer = await self._connections.ask(head, data)
        # 404: there is nothing whose ETag could match.
        if answer.status in (409, 412) or (answer.status == 404 and etag is not None):
            raise Refused
        made = _etag(answer)
        if answer.status != 200 or not made:
            raise _wrong(answer, "PUT")
        return made

    def _ask(self, path: str, condition: str, most_bytes: int, within_s: float | None) -> Awaitable[Response]:
        now_s = int(time.time())
        head = self._head_of_get(path, condition, now_s - now_s % _SIGNED_FOR_S)
        return self._connections.ask(head, b"", most_bytes, within_s)

    def _signed_get(self, path: str, asked: str, now_s: int) -> bytes:
        return self._signer.head("GET", self._target(path), b"", asked, now_s)

    def _target(self, path: str) -> str:
        # Every name ends with an exclamation mark, and most need nothing else.
        if _PLAIN.fullmatch(path, 0, len(path) - 1) and path[-1] == "!":
            return f"{self._bucket}{path[:-1]}%21"
        return self._bucket + quote(path, safe="/-._~")


def _got(answer: Response, status: int) -> Got | None:
    """The object of an answer that has `status`, if there is one. Raises Unusual, WrongStatus."""
    body = answer.body
    if body is None and answer.status < 500:
        raise Unusual(always=answer.status < 300)
    if answer.status == 404 and b"<Code>NoSuchKey</Code>" in bytes(body or b""):
        return None
    if answer.status != status or body is None:
        raise _wrong(answer, "GET")
    etag = _etag(answer)
    if not etag:
        raise WrongStatus("the store answers without an ETag")
    return Got(body, etag, len(body))


def _etag(answer: Response) -> str:
    etag = answer.field(b"etag")
    return etag if etag.isascii() and etag.isprintable() else ""


def _whole_size(answer: Response, first: int, length: int) -> int:
    """The size of the object of which the answer has `length` bytes from `first` on. Raises WrongStatus."""
    found = _RANGE.fullmatch(answer.field(b"content-range"))
    if found is None or int(found[1]) != first or int(found[2]) != first + length - 1:
        raise WrongStatus("the store answers with another range than was asked for")
    return int(found[3])


def _wrong(answer: Response, what: str) -> WrongStatus:
    said = bytes(answer.body[:_SHOWN_BYTES]) if answer.body is not None else b""
    kind = "a non-partial answer to a range, " if answer.status == 200 and what == "GET" else ""
    err = WrongStatus(f"{what}: {kind}status code: {answer.status}: {said.decode(errors='replace')}")
    asked = answer.field(b"retry-after")
    if asked.isascii() and asked.isdigit() and len(asked) < 9:
        err.retry_after_s = float(asked)
    return err
