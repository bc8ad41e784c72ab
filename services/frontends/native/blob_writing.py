"""POST, PUT and DELETE of a blob: each reads "check, stage, verify, commit, answer"."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable

from common.errors import BadRequest, BlobkeepError, Forbidden
from services import rules
from services.frontends.native.location import FORWARDED_PREFIX, LocationHandler, location_field
from services.frontends.native.write_conditions import write_condition
from services.rules.framed import refuse_framed
from services.rules.media_types import upload_media_type
from services.rules.metadata import stored_metadata
from services.store import Blob, Condition, Content, Upload


class BlobWriting(LocationHandler):
    """The writing methods of /store/{location}."""

    _upload: Upload | None = None
    _dropping: asyncio.Future[None] | None = None
    _sha256: bytes | None = None  # what the body must have, where the client said

    def before_body(self) -> Awaitable[None] | None:
        """See BaseHandler: an upload that cannot succeed is refused here, before its body."""
        super().before_body()
        if self.request.method in ("POST", "PUT", "DELETE"):
            refuse_framed(self.request.headers, self.request.query)
        return self._begin_upload() if self.request.method in ("POST", "PUT") else None

    async def _begin_upload(self) -> None:
        headers = self.request.headers
        rules.refuse_partial(headers)
        guesses = self.config.guess_type
        self._sha256 = rules.expected_sha256(headers)
        self._upload = await self.store.begin(
            self.location,
            self._condition(),
            Content(
                upload_media_type(headers.get("Content-Type"), self.location, guesses=guesses),
                rules.stored_encoding(headers.get("Content-Encoding")),
                stored_metadata(headers),
            ),
            rules.declared_bytes(headers),
        )

    def _condition(self) -> Condition:
        judge = write_condition(self.request.method or "", self.request.headers, self.config.put_creates)

        def judge_of_client(blob: Blob | None, damaged: bool) -> None:
            replaces = damaged or (blob is not None and self.request.method == "PUT")
            if replaces and not self.may_update:  # what is damaged may be restored, if nobody writes there
                raise Forbidden(f"{self.user} may create blobs, but not update this one: use another token.")
            judge(blob, damaged)

        return judge_of_client

    async def data_received(self, chunk: bytes) -> None:
        """One piece of the body. An error is answered at once: the rest of the body may be without end."""
        if self._upload is None or self._finished:
            return
        try:
            await self._upload.write(chunk)
        except BlobkeepError as err:
            await self._upload.abort(str(err))
            if not self._finished:
                self.send_error(500, exc_info=sys.exc_info())

    async def post(self) -> None:
        """201, `Location`, `ETag`."""
        await self._store_it()

    async def put(self) -> None:
        """200 updated, `ETag`; 201 where it was created."""
        await self._store_it()

    async def _store_it(self) -> None:
        upload = self._upload
        assert upload is not None
        if self._sha256 is not None:
            await self._verify(upload, self._sha256)
        blob, was_there = await upload.commit()
        self.set_status(200 if was_there and self.request.method == "PUT" else 201)
        self.set_header("ETag", rules.etag(blob.sha256))
        if self.get_status() == 201:
            prefix = self.request.headers.get(FORWARDED_PREFIX)
            self.set_header("Location", location_field(self.location, prefix))
        self.set_header("Content-Length", "0")

    async def _verify(self, upload: Upload, sha256: bytes) -> None:
        """Abort the upload, and raise why, unless its bytes are those that the client announced."""
        try:
            if await upload.sha256() != sha256:
                raise BadRequest("The body is not what its digest says, and was not stored: send it again.")
        except BaseException as err:
            await upload.abort(str(err))
            raise

    async def delete(self) -> None:
        """200, empty body."""
        await self.store.delete(self.location, self._condition())
        self.set_header("Content-Length", "0")

    def on_connection_close(self) -> None:
        """The client has left, or ended its sending: an upload that is not whole then never will be.

        One that is whole goes on: its client may wait for the answer, as `nc -N` does.
        """
        is_whole = self.request._body_future.done()
        super().on_connection_close()
        if self._upload is not None and not is_whole:
            # Kept: the loop itself has only a weak reference.
            self._dropping = asyncio.ensure_future(self._upload.abort("connection lost"))
