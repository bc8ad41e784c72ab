"""A running server as a target of the commands, over its public API."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import quote

from common.errors import BadLocation, BadRequest, BlobkeepError, Damaged, NotFound, TooLarge
from services.rules.conditions import etag as tag_of
from services.rules.locations import check_location, quote_location
from services.rules.metadata import metadata_fields
from services.rules.uploads import format_digest
from services.tools import exits
from services.tools.client import HttpClient, RequestBody, text_of, token_hint
from services.tools.exits import CommandFailed
from services.tools.target import OfferedBlob, PutOutcome

_PARALLEL = 8
# A larger body is not sent before HEAD said that it is wanted.
_ASK_FIRST_BYTES = 1 << 20
_PIECE_BYTES = 256 << 10


class HttpTarget:
    """See target.Target."""

    parallel = _PARALLEL

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self.name = client.name

    async def put(self, blob: OfferedBlob, *, replace: bool) -> PutOutcome:
        """See target.Target."""
        return await asyncio.to_thread(self._put, blob, replace)

    async def get(self, location: str, take: Callable[[bytes], None]) -> None:
        """See target.Target."""
        await asyncio.to_thread(self._get, location, take)

    async def delete(self, location: str) -> None:
        """See target.Target."""
        status, _, text = await asyncio.to_thread(self._client.text, "DELETE", _target(location))
        if status == 404:
            raise NotFound(f"There is no blob {location!r}.")
        if status != 200:
            raise self._refused(location, status, text)

    async def locations(self, prefix: str) -> AsyncIterator[str]:
        """See target.Target."""
        after = ""
        while True:
            query = f"?prefix={quote(prefix, safe='')}&after={quote(after, safe='')}"
            status, _, text = await asyncio.to_thread(
                self._client.text, "GET", "/store/" + query, {"Accept": "application/json"}
            )
            if status != 200:
                raise self._refused(prefix, status, text)
            page = json.loads(text)
            for blob in page["blobs"]:
                yield blob["location"]
            if page["next"] is None:
                return
            after = page["next"]

    def _get(self, location: str, take: Callable[[bytes], None]) -> None:
        answer = self._client.ask("GET", _target(location))
        if answer.status != 200:
            text = answer.read().decode(errors="replace")
            if answer.status == 404:
                raise NotFound(f"There is no blob {location!r}.")
            if answer.status == 500:
                raise Damaged(text_of(text))
            raise self._refused(location, answer.status, text)
        whole = hashlib.sha256()
        try:
            while piece := answer.read(_PIECE_BYTES):
                whole.update(piece)
                take(piece)
        except (OSError, http.client.HTTPException) as err:
            self._client.forget()
            raise CommandFailed(exits.REFUSED, f"The server at {self.name} broke off: {err!r}.") from err
        except BaseException:
            self._client.forget()
            raise
        # An answer that is cut short ends early, without an error.
        if tag_of(whole.digest()) != answer.headers.get("ETag"):
            self._client.forget()
            raise Damaged(
                f"What came of {location!r} is not what its ETag says: it was cut short, or changed."
            )

    def _put(self, blob: OfferedBlob, replace: bool) -> PutOutcome:
        if blob.size is None or blob.size > _ASK_FIRST_BYTES:
            etag = self._etag(blob.location)
            if etag is not None:
                return self._meet(blob, etag, replace)
        status, text = self._send("POST", blob)
        if status == 201:
            return PutOutcome.CREATED
        if status == 409 and blob.size is not None and (etag := self._etag(blob.location)) is not None:
            return self._meet(blob, etag, replace)
        raise self._refused(blob.location, status, text)

    def _meet(self, blob: OfferedBlob, etag: str, replace: bool) -> PutOutcome:
        """What to do where there is a blob already."""
        if blob.sha256 and etag == tag_of(blob.sha256):
            return PutOutcome.SAME
        if not replace:
            return PutOutcome.DIFFERS
        status, text = self._send("PUT", blob)
        if status not in (200, 201):
            raise self._refused(blob.location, status, text)
        return PutOutcome.REPLACED

    def _etag(self, location: str) -> str | None:
        """The ETag of what is there; None where nothing is, or it is damaged."""
        status, headers, _ = self._client.text("HEAD", _target(location))
        if status == 200:
            return headers.get("ETag", "")
        if status in (404, 500):
            return None
        raise self._refused(location, status, "")

    def _send(self, method: str, blob: OfferedBlob) -> tuple[int, str]:
        """Returns (status, text). Raises CommandFailed where the server stored other bytes than were sent."""
        headers = {"Content-Type": blob.media_type}
        if blob.size is not None:
            headers["Content-Length"] = str(blob.size)
        if blob.encoding:
            headers["Content-Encoding"] = blob.encoding
        headers.update(metadata_fields(blob.metadata))
        if blob.sha256:
            headers["Repr-Digest"] = format_digest(blob.sha256)
        sent = hashlib.sha256()

        def chunks() -> Iterator[bytes]:
            nonlocal sent
            sent = hashlib.sha256()
            for chunk in blob.chunks():
                sent.update(chunk)
                yield chunk

        body = RequestBody(chunks, again=blob.size is not None)
        status, answered, text = self._client.text(method, _target(blob.location), headers, body)
        etag = answered.get("ETag")
        if status in (200, 201) and etag != tag_of(sent.digest()):
            raise CommandFailed(
                exits.NOT_WELL, f"The server stored other bytes for {blob.location!r}: it says ETag {etag}."
            )
        return status, text

    def _refused(self, location: str, status: int, text: str) -> BlobkeepError:
        """The error of an answer: TooLarge or BadRequest where only this blob is refused."""
        text = text_of(text)
        if status in (400, 413):
            return (TooLarge if status == 413 else BadRequest)(text)
        said = f"The server answered {status} for {location!r}: {text}{token_hint(status)}".rstrip(": ")
        return CommandFailed(exits.REFUSED, said)


def _target(location: str) -> str:
    """Raises BadLocation for what its path cannot name: it would be another blob's."""
    try:
        check_location(location)
    except BadLocation as err:
        text = (
            f"{location!r} is a name of S3 alone, which this way cannot ask for: do it while no server runs."
        )
        raise BadLocation(text) from err
    return "/store/" + quote_location(location)
