"""PutObject, DeleteObject, DeleteObjects and CopyObject."""

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
from services.frontends.s3.etags import (
    delete_condition,
    etag_of,
    source_condition,
    write_condition,
)
from services.frontends.s3.names import S3Target, check_key, parse_copy_source
from services.frontends.s3.reading import check_version, checksum_tag
from services.frontends.s3.request import Operation, Request
from services.frontends.s3.stored import checksum_of, content_of
from services.store import Blob, Condition, Content, Upload

MAX_OBJECT_BYTES = 5 << 40  # S3's own limit
_MAX_KEYS = 1000
_OTHER_CONDITIONS = ("LastModifiedTime", "Size")  # of a key of DeleteObjects: ETag alone is judged
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
        check_version(self.request)
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
        quiet = root is not None and (root.get("Quiet") or "").strip() == "true"
        limit = asyncio.Semaphore(_AT_ONCE)
        shown = await asyncio.gather(*(self._delete(one, limit, quiet=quiet) for one in wanted))
        self.request.send(200, xml.document("DeleteResult", shown))

    async def _delete(self, wanted: xml.Element, limit: asyncio.Semaphore, *, quiet: bool) -> str:
        key, version = wanted.get("Key") or "", wanted.get("VersionId")
        request = self.request
        try:
            if not key:
                raise S3Error("InvalidArgument", "A key is empty.")
            if version not in (None, "", "null"):
                raise S3Error("NoSuchVersion", "There are no versions here.")
            for name in _OTHER_CONDITIONS:
                if wanted.get(name) is not None:
                    raise not_implemented(f"The condition {name} of a key")
            check_key(key)
            location = S3Target(request.target.bucket, key).location
            request.check(Action.DELETE, location)
            tag = wanted.get("ETag")
            condition = delete_condition({} if tag is None else {"if-match": tag})
            async with limit:
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


class CopyObject(Operation):
    """Copies another object on the server, in one commit."""

    async def begin(self) -> None:
        """See Operation."""
        request = self.request
        self._source = source_of(request)
        request.check(Action.CREATE, request.location)
        directive = request.fields.get("x-amz-metadata-directive", "COPY").upper()
        if directive not in ("COPY", "REPLACE"):
            raise S3Error("InvalidArgument", f"Unknown metadata directive {directive[:20]!r}.")
        if request.fields.get("x-amz-tagging-directive", "COPY").upper() != "COPY":
            raise S3Error("NotImplemented", "Tags are not implemented here.")
        self._content = content_of(request.fields) if directive == "REPLACE" else None
        if self._content is None and self._source == request.target:
            raise S3Error(
                "InvalidRequest",
                "This copy request is illegal because it is trying to copy an object to itself without "
                "changing the object's metadata, storage class, website redirect location or encryption "
                "attributes.",
            )
        await require_bucket(request)

    async def answer(self) -> None:
        """See Operation."""
        request = self.request
        source = await find_source(request, self._source)
        blob, _ = await request.store.copy(
            self._source.location,
            source_condition(request.fields, source.version),
            request.location,
            write_condition(
                {name: value for name, value in request.fields.items() if name.startswith("if-")},
                request.check_update,
            ),
            self._content,
        )
        request.send(200, copy_result("CopyObjectResult", blob))


def source_of(request: Request) -> S3Target:
    """The source of a copy, which the client may read. Raises S3Error, Forbidden."""
    source = parse_copy_source(request.fields["x-amz-copy-source"])
    request.check(Action.READ, source.location)
    return source


async def find_source(request: Request, source: S3Target) -> Blob:
    """The source of a copy, after its conditions were judged. Raises S3Error, Damaged."""
    blob = await request.store.stat(source.location)
    if blob is None:
        await require_bucket(request, source.bucket)
        raise S3Error("NoSuchKey", "The specified key does not exist.", Key=source.key)
    source_condition(request.fields)(blob, False)
    return blob


def copy_result(name: str, blob: Blob) -> bytes:
    """The answer of a copy."""
    found = checksum_of(blob)
    return xml.document(
        name,
        xml.tag("ETag", f'"{etag_of(blob)}"'),
        xml.tag("LastModified", xml.time_of(blob.modified_ns)),
        checksum_tag(found[0], found[1]) if found else "",
        xml.tag("ChecksumType", found[2]) if found else "",
    )
