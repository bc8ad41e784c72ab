"""CopyObject, and what it shares with UploadPartCopy: how the source is found."""

from __future__ import annotations

from services.access.decisions import Action
from services.frontends.s3 import checksums, xml
from services.frontends.s3.body import digests_of
from services.frontends.s3.buckets import require_bucket
from services.frontends.s3.checksums import FULL_OBJECT, Algorithm
from services.frontends.s3.errors import S3Error
from services.frontends.s3.etags import etag_of, source_condition, write_condition
from services.frontends.s3.names import S3Target, parse_copy_source
from services.frontends.s3.reading import checksum_tag
from services.frontends.s3.request import Operation, Request
from services.frontends.s3.stored import checksum_of, content_of, with_checksum
from services.read_all import all_pieces
from services.store import Blob


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
        self._content = content_of(request.fields) if directive == "REPLACE" else None
        self._algorithm = checksums.named(request.fields)
        if self._content is None and self._algorithm is None and self._source == request.target:
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
        content = self._content
        if self._algorithm is not None:
            value = await self._checksum(source, self._algorithm)
            content = with_checksum(source, content, self._algorithm, value)
        blob, _ = await request.store.copy(
            self._source.location,
            source_condition(request.fields, source.version),
            request.location,
            write_condition(
                {name: value for name, value in request.fields.items() if name.startswith("if-")},
                request.check_update,
            ),
            content,
        )
        request.send(200, _result(blob))

    async def _checksum(self, source: Blob, one: Algorithm) -> str:
        """The checksum of the whole source: the known one, else that of its bytes, which are read.

        If they are another blob's by now, the copy is refused, since the source changed.
        """
        known = checksum_of(source)
        if known is not None and (known[0].upper(), known[2]) == (one.name, FULL_OBJECT):
            return known[1]
        if one.name == "SHA256":
            return checksums.encoded(source.sha256)
        made = one.make()
        digests = digests_of(None, one, made)
        reading = await self.request.store.open(self._source.location)
        try:
            async for data in all_pieces(reading):
                await digests.add(bytes(data))
        finally:
            reading.close()
        await digests.finish()
        return checksums.encoded(made.digest())


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


def _result(blob: Blob) -> bytes:
    found = checksum_of(blob)
    return xml.document(
        "CopyObjectResult",
        xml.tag("ETag", f'"{etag_of(blob)}"'),
        xml.tag("LastModified", xml.time_of(blob.modified_ns)),
        checksum_tag(found[0], found[1]) if found else "",
        xml.tag("ChecksumType", found[2]) if found else "",
    )
