"""HTTP for blobs: each method reads "check, stage, verify, commit, answer". No path, lock or sync in here."""

from __future__ import annotations

import asyncio

from tornado.iostream import StreamClosedError

from common.errors import AlreadyExists, BadRequest, BlobkeepError, Forbidden, NotFound
from common.record import rfc3339
from services import http_rules
from services.base_handler import BaseHandler
from services.store import Blob, Condition, Upload

DEFAULT_PAGE = 1000
MAX_PAGE = 10_000


class BlobHandler(BaseHandler):
    """/store/{location}"""

    ALLOW = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
    _upload: Upload | None = None
    _failure: BlobkeepError | None = None

    async def before_body(self) -> None:
        """Refuse what can be refused before the body comes: no 100 Continue is sent then."""
        path = self.request.path
        self.location = http_rules.parse_location(path[len("/store/") :])
        expect = self.request.headers.get("Expect")
        if expect is not None:
            self.request.headers["Expect"] = expect.lower()  # Tornado compares it letter by letter
        if self.request.method in ("POST", "PUT"):
            headers = self.request.headers
            length = headers.get("Content-Length")
            size = int(length) if length is not None else None
            self.request.connection.set_max_body_size(1 << 62)  # type: ignore[union-attr]
            self._upload = await self.store.begin(
                self.location,
                self._condition(),
                http_rules.stored_media_type(headers.get("Content-Type")),
                http_rules.stored_encoding(headers.get("Content-Encoding")),
                size,
            )

    def _condition(self) -> Condition:
        creates = self.request.method == "POST"

        def judge(blob: Blob | None, damaged: bool) -> None:
            if not self.may_update and not creates and blob is not None:
                raise Forbidden(f"{self.user} may create blobs, but not update this one: use another token.")
            if creates and blob is not None:
                raise AlreadyExists("This blob is there already: update it with PUT, or delete it first.")
            if not creates and blob is None and not damaged and not self.config.put_creates:
                raise NotFound("There is no such blob: create it with POST.")

        return judge

    async def data_received(self, chunk: bytes) -> None:
        """One piece of the body. An error is kept for post/put: raised here, it would close the socket."""
        if self._upload is not None and self._failure is None:
            try:
                await self._upload.write(chunk)
            except BlobkeepError as err:
                self._failure = err

    async def post(self, _path: str) -> None:
        """201, `Location`, `ETag`."""
        await self._store_it()

    async def put(self, _path: str) -> None:
        """200 updated, `ETag`; 201 where it was created."""
        await self._store_it()

    async def _store_it(self) -> None:
        upload = self._upload
        assert upload is not None
        if self._failure is not None:
            await upload.abort(str(self._failure))
            raise self._failure
        blob, was_there = await upload.commit()
        self.set_status(200 if was_there and self.request.method == "PUT" else 201)
        self.set_header("ETag", http_rules.etag(blob.sha256))
        if self.get_status() == 201:
            self.set_header("Location", "/store/" + http_rules.quote_location(self.location))
        self.set_header("Content-Length", "0")

    async def get(self, _path: str) -> None:
        """200 and the bytes."""
        reading = await self.store.open(self.location)
        try:
            blob = reading.blob
            self._describe(blob)
            if self.request.method == "HEAD" or blob.size == 0:
                return
            async for piece in reading.chunks(0, blob.size - 1):
                self.write(bytes(piece))
                await self.flush()
        except StreamClosedError:
            pass  # the client has left; nothing is owed
        finally:
            reading.close()

    head = get

    def _describe(self, blob: Blob) -> None:
        self.set_header("Content-Length", str(blob.size))
        self.set_header("Content-Type", blob.type)
        self.set_header("ETag", http_rules.etag(blob.sha256))

    async def delete(self, _path: str) -> None:
        """200, empty body."""
        await self.store.delete(self.location, lambda blob, damaged: None)
        self.set_header("Content-Length", "0")

    def on_connection_close(self) -> None:
        """The client has left: before the commit began, its upload is dropped."""
        super().on_connection_close()
        if self._upload is not None:
            self._dropping = asyncio.ensure_future(self._upload.abort("connection lost"))


class ListHandler(BaseHandler):
    """/store/"""

    def get(self) -> None:
        """A page of the locations, as JSON."""
        limit = self.get_query_argument("limit", str(DEFAULT_PAGE))
        if not limit.isdigit() or not 0 < int(limit) <= MAX_PAGE:
            raise BadRequest(f"limit is a whole number from 1 to {MAX_PAGE}.")
        delimiter = self.get_query_argument("delimiter", "")
        if delimiter not in ("", "/"):
            raise BadRequest('delimiter is "/" or nothing.')
        prefix = self.get_query_argument("prefix", "", strip=False)
        after = self.get_query_argument("after", "", strip=False)
        page = self.store.page(prefix, delimiter, after, int(limit))
        self.send_json(
            {"blobs": [_entry(blob) for blob in page.blobs], "prefixes": page.prefixes, "next": page.next}
        )

    head = get


def _entry(blob: Blob) -> dict[str, object]:
    return {
        "location": blob.location,
        "id": blob.id,
        "size": blob.size,
        "etag": http_rules.etag(blob.sha256),
        "modified": rfc3339(blob.modified_ns),
        "type": blob.type,
    }
