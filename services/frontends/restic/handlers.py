"""Every request of restic: files of a repository, its lists, its creation.

A file's name is the SHA-256 of its bytes, so the same bytes again are no change: that is answered with 200,
also to a client that may only add. It did not get the answer to its first upload, and must be able to go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable

from tornado.web import HTTPError

from common.errors import AlreadyExists, BadRequest, BlobkeepError, Forbidden, NotFound
from services.frontends.native.blob_reading import BlobReading
from services.frontends.restic.names import parse_path
from services.rules.uploads import declared_bytes
from services.store import Blob, Content, Upload

_V2 = "application/vnd.x.restic.rest.v2"
_V1 = "application/vnd.x.restic.rest.v1"
_STEP = 1000
_TYPE = Content("application/octet-stream")


class ResticHandler(BlobReading):
    """/restic/..."""

    ALLOW = "GET, HEAD, POST, DELETE, OPTIONS"
    _upload: Upload | None = None
    _is_there = False  # what is being sent: the body is dropped, and the answer is 200
    _dropping: asyncio.Future[None] | None = None

    async def _admit(self) -> None:
        """See BaseHandler: the client, and whether role and prefix let it do this."""
        client = await self.access.identify(self.request.headers.get("Authorization"))
        self.user = client.name
        named = parse_path(self.request.path)
        action = self.request.method or ""
        if action == "DELETE" and named.kind == "locks":
            action = "POST"  # who may only add takes and gives back locks, else no backup could be made
        refusal = client.refusal(action, named.location)
        if refusal is not None:
            raise Forbidden(refusal)
        checking = self._check()
        if checking is not None:
            await checking

    def before_body(self) -> Awaitable[None] | None:
        """See BaseHandler."""
        self.named = parse_path(self.request.path)
        self.location = self.named.location
        if self.request.method == "POST" and self.named.is_file:
            return self._begin_upload()
        return None

    async def _begin_upload(self) -> None:
        size = declared_bytes(self.request.headers)
        try:
            self._upload = await self.store.begin(self.location, self._judge, _TYPE, size)
        except AlreadyExists:
            self._is_there = True

    def _judge(self, blob: Blob | None, damaged: bool) -> None:
        """The condition of an upload. What is damaged is written anew: restic has the bytes again."""
        if blob is None:
            return
        if self.named.sha256 and blob.sha256.hex() == self.named.sha256:
            raise AlreadyExists("The same bytes are there.")
        raise Forbidden("It is there already, with other bytes: delete it first.")

    async def data_received(self, chunk: bytes) -> None:
        """A piece of the body. An error is answered at once: the rest may be without end."""
        if self._upload is None or self._finished:
            return
        try:
            await self._upload.write(chunk)
        except BlobkeepError as err:
            await self._upload.abort(str(err))
            if not self._finished:
                self.send_error(500, exc_info=sys.exc_info())

    async def post(self) -> None:
        """200: stored, or there already; 400 where the bytes are not what their name says."""
        if not self.named.is_file:
            if self.named.kind or self.get_query_argument("create", "") != "true":
                raise BadRequest("A repository is created with POST /restic/<name>/?create=true.")
        elif not self._is_there:
            await self._store_it()
        self.set_header("Content-Length", "0")

    async def _store_it(self) -> None:
        upload = self._upload
        assert upload is not None
        try:
            if self.named.sha256 and (await upload.sha256()).hex() != self.named.sha256:
                raise BadRequest("The bytes are not what the file's name says: send them again.")
        except BaseException as err:
            await upload.abort(str(err))
            raise
        with contextlib.suppress(AlreadyExists):  # by another upload of the same bytes, meanwhile
            await upload.commit()

    async def get(self) -> None:
        """A file, or a list of a kind."""
        if self.named.is_file:
            await super().get()
        elif self.named.kind:
            await self._send_list()
        else:
            raise HTTPError(405)

    async def head(self) -> None:
        """As `get`, without the bytes."""
        await self.get()

    async def _send_list(self) -> None:
        """Names and sizes, or names alone for version 1 of the protocol; a page at a time."""
        is_v2 = self.request.headers.get("Accept") == _V2
        self.set_header("Content-Type", _V2 if is_v2 else _V1)
        after: str | None = ""
        before = "["
        while after is not None:
            page = await self.store.list(self.location, "", after, _STEP)
            after = page.next
            names = [(blob.location.removeprefix(self.location), blob.size) for blob in page.blobs]
            # A name of ours is hex digits; what was written natively may be anything, and is not restic's.
            shown = [
                f'{{"name":"{name}","size":{size}}}' if is_v2 else f'"{name}"'
                for name, size in names
                if len(name) == 64 and name.isalnum()
            ]
            if shown:
                self.write(before + ",".join(shown))
                before = ","
                await self.flush()
        self.finish("[]" if before == "[" else "]")

    async def delete(self) -> None:
        """200, also where nothing is."""
        if not self.named.is_file:
            raise HTTPError(405)
        with contextlib.suppress(NotFound):
            await self.store.delete(self.location, lambda blob, damaged: None)
        self.set_header("Content-Length", "0")

    def on_connection_close(self) -> None:
        """The client has left: an upload that is not whole then never will be."""
        is_whole = self.request._body_future.done()
        super().on_connection_close()
        if self._upload is not None and not is_whole:
            # Kept: the loop itself has only a weak reference.
            self._dropping = asyncio.ensure_future(self._upload.abort("connection lost"))
