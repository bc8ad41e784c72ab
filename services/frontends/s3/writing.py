"""PutObject, DeleteObject and DeleteObjects."""

from __future__ import annotations

import asyncio
import contextlib
from hashlib import sha256

from common.errors import BlobkeepError, NotFound
from services.access.decisions import Action
from services.frontends.s3 import xml
from services.frontends.s3.body import Body, Receiving, XmlOperation
from services.frontends.s3.buckets import require_bucket
from services.frontends.s3.checksums import FULL_OBJECT, HEADER
from services.frontends.s3.errors import S3Error, described, not_implemented
from services.frontends.s3.etags import delete_condition, etag_of, write_condition
from services.frontends.s3.names import S3Target, check_key
from services.frontends.s3.request import Operation, Request
from services.frontends.s3.stored import content_of
from services.store import Blob, Condition, Content, Upload

MAX_OBJECT_BYTES = 5 << 40  # S3's own limit
_MAX_KEYS = 1000
_OF_A_KEY = ("Key", "VersionId", "ETag")  # what DeleteObjects may say of a key, not its size or time
_AT_ONCE = 32  # of the keys of one DeleteObjects: they share the syncs


class PutObject(Receiving):
    """200 and the ETag, when the object is durable."""

    upload: Upload

    async def begin(self) -> None:
        """See Operation."""
        await self._begin(*await self._judged())

    async def answer(self) -> None:
        """See Operation."""
        blob, _ = await self.upload.commit(await self.received())
        self._answer(blob)

    async def put(self, body: bytes) -> None:
        """The whole operation for a small body that has come: one step of the store, the same answers."""
        content, condition = await self._judged()
        try:
            whole = b"".join(await self.body.feed(body))
            digest = sha256(whole).digest() if self.body.needs_sha256 else b""
            await self.body.finish(digest or None)
        except S3Error:
            await self._begin(content, condition)  # a refusal is answered first
            raise
        said = Content(content.type, content.encoding, {**content.metadata, **self.body.kept()})
        request = self.request
        blob, _ = await request.store.write_whole(request.location, condition, said, whole, digest)
        self._answer(blob)

    async def _judged(self) -> tuple[Content, Condition]:
        """The attributes and the condition of the write, after the rights were checked."""
        request = self.request
        request.check(Action.CREATE, request.location)
        content = content_of(request.fields)
        self.body = Body(request)
        if (self.body.declared_bytes or 0) > MAX_OBJECT_BYTES:
            raise S3Error("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size.")
        await require_bucket(request)
        return content, write_condition(request.fields, request.check_update)

    async def _begin(self, content: Content, condition: Condition) -> None:
        store, at = self.request.store, self.request.location
        self.upload = await store.begin(at, condition, content, self.body.declared_bytes)

    def _answer(self, blob: Blob) -> None:
        shown = self.checksum_shown()
        if shown:
            shown.append((HEADER + "type", FULL_OBJECT))
        tag = self.body.md5_hex or etag_of(blob)
        self.request.send(200, fields=[("ETag", f'"{tag}"'), *shown])


class DeleteObject(Operation):
    """204, also if there is no object."""

    async def begin(self) -> None:
        """See Operation."""
        self.request.check(Action.DELETE, self.request.location)
        self.request.check_version()
        await require_bucket(self.request)

    async def answer(self) -> None:
        """See Operation."""
        request = self.request
        await delete_quietly(request, request.location, delete_condition(request.fields))
        request.send(204)


async def delete_quietly(request: Request, location: str, condition: Condition) -> None:
    """Delete an object; a missing one is no error."""
    with contextlib.suppress(NotFound):
        await request.store.delete(location, condition)


class DeleteObjects(XmlOperation):
    """Up to 1,000 keys; the answer has the result for each."""

    MAX_BYTES = 4 << 20  # 1,000 keys of 1,024 bytes, with their XML

    async def begin(self) -> None:
        """See Operation."""
        await super().begin()
        self.request.check_bucket()
        await require_bucket(self.request)

    async def answer(self) -> None:
        """See Operation."""
        root = await self.document("Delete")
        wanted = root.all("Object") if root is not None else []
        if not 0 < len(wanted) <= _MAX_KEYS:
            raise xml.malformed()
        if root is not None and any(child.name not in ("Object", "Quiet") for child in root.children):
            raise xml.malformed()
        quiet = root is not None and (root.get("Quiet") or "").strip() == "true"
        shown = [""] * len(wanted)
        left = enumerate(wanted)

        async def some() -> None:
            for number, one in left:
                shown[number] = await self._delete(one, quiet=quiet)
                await asyncio.sleep(0)  # one that is refused waits for nothing

        await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
        self.request.send(200, xml.document("DeleteResult", shown))

    async def _delete(self, wanted: xml.Element, *, quiet: bool) -> str:
        key, version = wanted.get("Key") or "", wanted.get("VersionId")
        request = self.request
        try:
            if not key:
                raise S3Error("InvalidArgument", "A key is empty.")
            if version not in (None, "", "null"):
                raise S3Error("NoSuchVersion", "There are no versions here.")
            for child in wanted.children:
                if child.name not in _OF_A_KEY:
                    raise not_implemented(f"The condition {child.name[:40]} of a key")
            check_key(key)
            location = S3Target(request.target.bucket, key).location
            request.check(Action.DELETE, location)
            tag = wanted.get("ETag")
            condition = delete_condition({} if tag is None else {"if-match": tag})
            await delete_quietly(request, location, condition)
        except BlobkeepError as err:
            known = described(err)
            return xml.block(
                "Error",
                xml.tag("Key", key),
                xml.tag("VersionId", version),
                xml.tag("Code", known.code),
                xml.tag("Message", known.text),
            )
        return "" if quiet else xml.block("Deleted", xml.tag("Key", key), xml.tag("VersionId", version))
