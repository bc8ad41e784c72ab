"""A running server as a target of import and restore, over its public API."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

from common.errors import DAMAGE_ERRNOS, BadRequest, BlobkeepError, TooLarge
from services import rules
from services.rules.metadata import metadata_fields
from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.incoming import Incoming, Outcome

_AT_ONCE = 8
_TIMEOUT_S = 120.0
# A larger body is not sent before HEAD said that it is wanted.
_ASK_FIRST_BYTES = 1 << 20


class HttpTarget:
    """See targets.Target. One connection a thread, kept alive."""

    at_once = _AT_ONCE

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise CommandFailed(exits.USAGE, f"--url {url!r} is not http://HOST:PORT or https://HOST:PORT.")
        self.name = url
        self._host = parts.hostname
        self._port = parts.port
        self._connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._of_thread = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Close every connection."""
        for connection in self._all:
            connection.close()

    async def put(self, blob: Incoming, *, replace: bool) -> Outcome:
        """See targets.Target."""
        return await asyncio.to_thread(self._put, blob, replace)

    def _put(self, blob: Incoming, replace: bool) -> Outcome:
        if blob.size > _ASK_FIRST_BYTES and (etag := self._etag(blob.location)) is not None:
            return self._meet(blob, etag, replace)
        status, headers, text = self._send("POST", blob)
        if status == 201:
            self._compare(blob, headers.get("ETag"))
            return Outcome.CREATED
        if status == 409 and (etag := self._etag(blob.location)) is not None:
            return self._meet(blob, etag, replace)
        raise self._refused(blob.location, status, text)

    def _meet(self, blob: Incoming, etag: str, replace: bool) -> Outcome:
        """What to do where there is a blob already."""
        if blob.sha256 and etag == rules.etag(blob.sha256):
            return Outcome.SAME
        if not replace:
            return Outcome.DIFFERS
        status, headers, text = self._send("PUT", blob)
        if status not in (200, 201):
            raise self._refused(blob.location, status, text)
        self._compare(blob, headers.get("ETag"))
        return Outcome.REPLACED

    def _compare(self, blob: Incoming, etag: str | None) -> None:
        if blob.sha256 and etag != rules.etag(blob.sha256):
            raise CommandFailed(
                exits.NOT_WELL, f"The server stored other bytes for {blob.location!r}: it says ETag {etag}."
            )

    def _etag(self, location: str) -> str | None:
        """The ETag of what is there; None where nothing is, or it is damaged."""
        status, headers, _ = self._ask("HEAD", location, None, {})
        if status == 200:
            return headers.get("ETag", "")
        if status in (404, 500):
            return None
        raise self._refused(location, status, "")

    def _send(self, method: str, blob: Incoming) -> tuple[int, http.client.HTTPMessage, str]:
        headers = {"Content-Length": str(blob.size), "Content-Type": blob.media_type}
        if blob.encoding:
            headers["Content-Encoding"] = blob.encoding
        headers.update(metadata_fields(blob.metadata))
        if blob.sha256:
            headers["Repr-Digest"] = rules.format_digest(blob.sha256)
        return self._ask(method, blob.location, blob, headers)

    def _ask(
        self, method: str, location: str, blob: Incoming | None, headers: dict[str, str]
    ) -> tuple[int, http.client.HTTPMessage, str]:
        """(status, headers, text). Once more where a kept connection turns out to be closed: if the first
        try did arrive, the second meets its bytes, which are the same."""
        target = "/store/" + rules.quote_location(location)
        while True:
            connection = getattr(self._of_thread, "connection", None)
            is_new = connection is None
            if connection is None:
                connection = self._connect(self._host, self._port, timeout=_TIMEOUT_S)
                self._of_thread.connection = connection
                self._all.append(connection)
            try:
                body = blob.chunks() if blob is not None else None
                return self._talk(connection, method, target, body, {**self._headers, **headers})
            except (OSError, http.client.HTTPException) as err:
                connection.close()
                self._of_thread.connection = None
                if isinstance(err, OSError) and err.errno in DAMAGE_ERRNOS:
                    raise
                if is_new:
                    raise CommandFailed(
                        exits.REFUSED, f"The server at {self.name} does not answer: {err}."
                    ) from err
            except BaseException:
                connection.close()  # a body broke off: what was sent of it must not be taken for the next
                self._of_thread.connection = None
                raise

    def _talk(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: Iterator[bytes] | None,
        headers: dict[str, str],
    ) -> tuple[int, http.client.HTTPMessage, str]:
        try:
            connection.request(method, target, body, headers)
        except (BrokenPipeError, ConnectionResetError):
            if connection.sock is None:
                raise
            # It answered before the body was whole, and closed: its answer says why.
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        if answer.will_close:
            connection.close()
        return answer.status, answer.headers, text

    def _refused(self, location: str, status: int, text: str) -> BlobkeepError:
        """TooLarge or BadRequest where this one blob is not wanted; else no other one will be, either."""
        try:
            text = json.loads(text)["text"]
        except (ValueError, KeyError, TypeError):
            text = text[:200]
        if status in (400, 413):
            return (TooLarge if status == 413 else BadRequest)(text)
        hint = " Give the token of a client that may write: --token-file." if status in (401, 403) else ""
        return CommandFailed(
            exits.REFUSED, f"The server answered {status} for {location!r}: {text}{hint}".rstrip(": ")
        )
