"""Every request of restic: files of a repository, its lists, its creation.

A file's name is the SHA-256 of its bytes. So the same bytes again change nothing, and are answered with 200,
also for a client that may only add: it did not get the answer to its first upload, and must be able to go on.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Awaitable
from typing import NoReturn

from tornado.web import HTTPError

from common.errors import AlreadyExists, BadRequest, NotFound
from services.access.decisions import Action
from services.frontends.native.blobs import BlobReader
from services.frontends.restic.conditions import refuse_unjudged, upload_condition
from services.frontends.restic.names import FILE_TYPE, REFUSAL, Named, parse_path
from services.rules.uploads import declared_bytes
from services.store import Upload, unconditional

_V2 = "application/vnd.x.restic.rest.v2"
_V1 = "application/vnd.x.restic.rest.v1"
_STEP = 1000


class _Compared:
    """Compares the bytes of a file that is there already, and drops them."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    async def write(self, data: bytes) -> None:
        """The next bytes."""
        self._hash.update(data)

    async def abort(self, reason: str) -> None:
        """Nothing is held."""

    def check(self, sha256: str) -> None:
        """All bytes came. Raises BadRequest where their digest is another."""
        if self._hash.hexdigest() != sha256:
            raise BadRequest(REFUSAL)


class ResticHandler(BlobReader):
    """/restic/..."""

    ALLOW = "GET, HEAD, POST, DELETE, OPTIONS"
    _upload: Upload | None = None
    _compared: _Compared | None = None  # in its place, where what is being sent is there

    @functools.cached_property
    def named(self) -> Named:
        """The repository, list or file that the path names. Raises NotFound, BadLocation."""
        return parse_path(self.request.path)

    @functools.cached_property
    def location(self) -> str:
        """The location of the file, or the prefix of a list or a repository."""
        return self.named.location

    def asked(self) -> tuple[Action, str | None]:
        """See BaseHandler. A client that may only add may take and release locks: backups need them."""
        action = self.action()
        gives_back = action is Action.DELETE and self.named.kind == "locks"
        return Action.CREATE if gives_back else action, self.location

    def refuse_method(self) -> NoReturn:
        """See BaseHandler. Where the path names nothing, that is the answer."""
        self.named  # noqa: B018 - raises NotFound
        super().refuse_method()

    def before_body(self) -> Awaitable[None] | None:
        """See BaseHandler."""
        if self.request.method in ("POST", "DELETE"):
            refuse_unjudged(self.request.headers)
        if self.named.is_file and self.request.method == "POST":
            return self._begin_upload()
        return None

    async def _begin_upload(self) -> None:
        size = declared_bytes(self.request.headers)
        try:
            condition = upload_condition(self.named, self._check_update)
            self._upload = await self.store.begin(self.location, condition, FILE_TYPE, size)
        except AlreadyExists:
            self.incoming = self._compared = _Compared()
        else:
            self.incoming = self._upload

    def _check_update(self) -> None:
        if self.client is not None:
            self.client.check(Action.UPDATE, self.location)

    async def post(self) -> None:
        """200: stored, or there already; 400 if the bytes do not match the name."""
        if not self.named.is_file:
            if self.named.kind or self.get_query_argument("create", "") != "true":
                raise BadRequest("A repository is created with POST /restic/<name>/?create=true.")
        elif self._upload is not None:
            with contextlib.suppress(AlreadyExists):  # by another upload of the same bytes, meanwhile
                await self._commit(self._upload)
        elif self._compared is not None:
            self._compared.check(self.named.sha256)
        self.set_header("Content-Length", "0")

    async def _commit(self, upload: Upload) -> None:
        """Store a file, if its bytes are those that its name says. Raises BadRequest; it is aborted then."""
        if self.named.sha256:
            try:
                if (await upload.sha256()).hex() != self.named.sha256:
                    raise BadRequest(REFUSAL)
            except BaseException as err:
                await upload.abort(str(err))
                raise
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
        """Names and sizes, or only names for version 1 of the protocol; a page at a time."""
        is_v2 = self.request.headers.get("Accept") == _V2
        self.set_header("Content-Type", _V2 if is_v2 else _V1)
        after: str | None = ""
        before = "["
        while after is not None:
            page = await self.store.list(self.location, "", after, _STEP)
            after = page.next
            names = [(blob.location.removeprefix(self.location), blob.size) for blob in page.blobs]
            # restic's names are hex digits; blobs with other names were written natively.
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
        """200, also if there is no such file."""
        if not self.named.is_file:
            raise HTTPError(405)
        with contextlib.suppress(NotFound):
            await self.store.delete(self.location, unconditional)
        self.set_header("Content-Length", "0")
