"""Uploads in parts: to begin one, send or copy its parts in any order, and abort it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Mapping

from common.checksum import Bytes
from common.transfer import LentRoom
from services.access.decisions import Action
from services.frontends.s3 import checksums, xml
from services.frontends.s3.body import Body, Receiving, digests_of, part_has_md5
from services.frontends.s3.buckets import require_bucket
from services.frontends.s3.checksums import COMPOSITE, FULL_OBJECT, Algorithm
from services.frontends.s3.copying import find_source, source_of
from services.frontends.s3.errors import S3Error
from services.frontends.s3.etags import ETAG, tag_in, tag_of_sha256
from services.frontends.s3.reading import checksum_tag
from services.frontends.s3.request import Operation, Request
from services.frontends.s3.stored import (
    CHECKSUM,
    CHECKSUM_TYPE,
    MAX_PARTS,
    content_of,
)
from services.rules.ranges import parse_ranges
from services.store import Blob, Content, Multipart, Part, PartUpload

ALGORITHM = ".s3-algorithm"  # the checksum algorithm of the parts
_SOURCE_RANGE = re.compile(r"bytes=[0-9]{1,18}-([0-9]{1,18})")
BEGUN_BY = ".s3-begun-by"  # the client, if it may only add: the upload is its own to change


def algorithm_of(upload: Multipart) -> Algorithm | None:
    """The checksum algorithm of its parts; None if the client asked for none."""
    name = upload.content.metadata.get(ALGORITHM)
    return None if name is None else checksums.algorithm(name)


def check_begun_by(request: Request, upload: Multipart, action: Action) -> None:
    """Raise Forbidden if another client began `upload`, and this one may not change what others wrote.

    To send a part again, to complete without some parts, and to abort are such changes.
    """
    if upload.content.metadata.get(BEGUN_BY) != request.user:
        request.check(action, request.location)


def part_tag(part: Part) -> str:
    """The ETag of a part, without quotes: of its MD5, else its SHA-256, else its checksum."""
    if (known := tag_in(part.attributes)) is not None:
        return known
    if part.sha256:
        return tag_of_sha256(part.sha256)
    values = (f"{name}={value}" for name, value in part.attributes.items() if name.startswith(CHECKSUM))
    return tag_of_sha256(hashlib.sha256("".join(values).encode()).digest())


def part_number(request: Request) -> int:
    """The part number in the query. Raises S3Error."""
    number = request.number("partNumber", 0, 1 << 31)
    if not 1 <= number <= MAX_PARTS:
        raise S3Error(
            "InvalidArgument", f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive"
        )
    return number


class CreateMultipartUpload(Operation):
    """200 and an id, when the begun upload is durable."""

    async def begin(self) -> None:
        """See Operation."""
        request = self.request
        request.check(Action.CREATE, request.location)
        content = content_of(request.fields)
        self._kept = self._checksums(request.fields)
        begun_by = {} if request.may_update else {BEGUN_BY: request.user}
        self._content = Content(
            content.type, content.encoding, {**content.metadata, **self._kept, **begun_by}
        )
        await require_bucket(request)
        if not request.may_update and await request.store.stat(request.location) is not None:
            request.check_update()

    def _checksums(self, fields: Mapping[str, str]) -> dict[str, str]:
        name, kind = fields.get("x-amz-checksum-algorithm"), fields.get("x-amz-checksum-type")
        if name is None:
            if kind is not None:
                raise S3Error(
                    "InvalidRequest", "x-amz-checksum-type needs x-amz-checksum-algorithm beside it."
                )
            return {}
        one = checksums.algorithm(name)
        kind = (kind or one.default_type).upper()
        if kind not in (COMPOSITE, FULL_OBJECT):
            raise S3Error("InvalidRequest", f"The checksum type is {COMPOSITE} or {FULL_OBJECT}.")
        if (kind == FULL_OBJECT and one.combine is None) or (kind == COMPOSITE and one.name == "CRC64NVME"):
            text = f"The {kind} checksum type cannot be used with the {one.name.lower()} checksum algorithm."
            raise S3Error("InvalidRequest", text)
        return {ALGORITHM: one.name, CHECKSUM_TYPE: kind}

    async def answer(self) -> None:
        """See Operation."""
        request = self.request
        upload = await request.parts.create_multipart(request.location, self._content)
        fields = []
        if self._kept:
            fields = [
                ("x-amz-checksum-algorithm", self._kept[ALGORITHM]),
                ("x-amz-checksum-type", self._kept[CHECKSUM_TYPE]),
            ]
        body = xml.document(
            "InitiateMultipartUploadResult",
            xml.tag("Bucket", request.target.bucket),
            xml.tag("Key", request.target.key),
            xml.tag("UploadId", upload.id),
        )
        request.send(200, body, fields)


class UploadPart(Receiving):
    """200 and the part's ETag, when the part is durable."""

    upload: PartUpload

    async def begin(self) -> None:
        """See Operation."""
        request = self.request
        request.check(Action.CREATE, request.location)
        number, upload_id = part_number(request), request.query["uploadId"]
        begun = await request.parts.find_multipart(request.location, upload_id)
        check_begun_by(request, begun, Action.UPDATE)
        self.body = Body(request, with_md5=part_has_md5(request.config), also=algorithm_of(begun))
        self.upload = await request.parts.begin_part(
            request.location,
            upload_id,
            number,
            self.body.declared_bytes,
            with_sha256=self.body.needs_sha256 or not self.body.has_other_sums,
        )

    def lend(self) -> LentRoom | None:
        """Memory of the part for the body, in place of `take`; None if the body needs that."""
        return self.upload.lend() if self.body.may_be_lent_room else None

    def came(self, data: memoryview) -> int:
        """The next bytes of the body, which are in that memory; how many are left there. See Body.came."""
        return self.body.came(data)

    async def answer(self) -> None:
        """See Operation."""
        part = await self.upload.commit(await self.received())
        self.request.send(200, fields=[("ETag", f'"{part_tag(part)}"'), *self.checksum_shown()])


class UploadPartCopy(Operation):
    """A part with the bytes of an object or of a range of it, which are read here, verified, and written."""

    async def begin(self) -> None:
        """See Operation."""
        request = self.request
        self._source = source_of(request)
        request.check(Action.CREATE, request.location)
        self._number = part_number(request)
        upload = await request.parts.find_multipart(request.location, request.query["uploadId"])
        check_begun_by(request, upload, Action.UPDATE)
        self._algorithm = algorithm_of(upload)

    async def answer(self) -> None:
        """See Operation."""
        request = self.request
        source = await find_source(request, self._source)
        reading = await request.store.open(self._source.location)
        try:
            if reading.blob.version != source.version:
                raise S3Error(
                    "ConditionalRequestConflict", "The source changed while it was copied: try again."
                )
            first, last = _source_range(request, source)
            upload = await request.parts.begin_part(
                request.location,
                request.query["uploadId"],
                self._number,
                last + 1 - first,
                with_sha256=self._needs_sha256(),
            )
            try:
                part = await self._copy(reading.chunks(first, last), upload)
            except BaseException as err:
                await upload.abort(str(err))
                raise
        finally:
            reading.close()
        value = part.attributes.get(CHECKSUM + self._algorithm.name.lower()) if self._algorithm else None
        body = xml.document(
            "CopyPartResult",
            xml.tag("LastModified", xml.time_of(part.modified_ns)),
            xml.tag("ETag", f'"{part_tag(part)}"'),
            checksum_tag(self._algorithm.name, value) if self._algorithm and value else "",
        )
        request.send(200, body)

    def _needs_sha256(self) -> bool:
        one = self._algorithm
        return not part_has_md5(self.request.config) if one is None else one.name == "SHA256"

    async def _copy(self, chunks: AsyncIterator[Bytes], upload: PartUpload) -> Part:
        one = self._algorithm
        md5 = hashlib.md5(usedforsecurity=False) if part_has_md5(self.request.config) else None
        checksum = one.make() if one is not None and one.name != "SHA256" else None
        digests = digests_of(md5, one, checksum)
        async for data in chunks:
            piece = bytes(data)
            await digests.add(piece)
            await upload.write(piece)
        await digests.finish()
        attributes = {} if md5 is None else {ETAG: md5.digest().hex()}
        if one is not None:
            raw = await upload.sha256() if checksum is None else checksum.digest()
            attributes[CHECKSUM + one.name.lower()] = checksums.encoded(raw)
        return await upload.commit(attributes)


def _source_range(request: Request, source: Blob) -> tuple[int, int]:
    asked = request.fields.get("x-amz-copy-source-range")
    if asked is None:
        return 0, source.size - 1
    found = _SOURCE_RANGE.fullmatch(asked)
    if found is None:
        raise S3Error(
            "InvalidArgument", "The x-amz-copy-source-range value must be of the form bytes=first-last."
        )
    parts = parse_ranges(asked, source.size) if int(found[1]) < source.size else None
    if parts is None or len(parts) != 1:
        raise S3Error("InvalidRange", "The requested range is not satisfiable: it is not within the source.")
    return parts[0]


class AbortMultipartUpload(Operation):
    """204, when nothing is left of the upload."""

    async def begin(self) -> None:
        """See Operation."""
        self.request.check(Action.CREATE, self.request.location)

    async def answer(self) -> None:
        """See Operation."""
        request = self.request
        if not request.may_update:
            begun = await request.parts.find_multipart(request.location, request.query["uploadId"])
            check_begun_by(request, begun, Action.DELETE)
        await request.parts.abort_multipart(request.location, request.query["uploadId"])
        request.send(204)
