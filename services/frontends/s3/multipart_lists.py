"""ListParts and ListMultipartUploads."""

from __future__ import annotations

import asyncio
from functools import partial

from services.access.decisions import Action
from services.frontends.s3 import xml
from services.frontends.s3.buckets import require_bucket
from services.frontends.s3.lists import BucketList, common_prefix
from services.frontends.s3.multipart import ALGORITHM, algorithm_of, part_tag
from services.frontends.s3.reading import checksum_tag
from services.frontends.s3.request import Operation, Request
from services.frontends.s3.slices import in_slices
from services.frontends.s3.stored import CHECKSUM, CHECKSUM_TYPE, MAX_PARTS
from services.store import Multipart, Part


class ListParts(Operation):
    """The parts that are there, in pages."""

    async def begin(self) -> None:
        """See Operation."""
        request = self.request
        request.check_encoding_type()
        request.check(Action.READ, request.location)
        self._limit = request.number("max-parts", 1000, 1000)
        self._marker = request.number("part-number-marker", 0, MAX_PARTS)

    async def answer(self) -> None:
        """See Operation."""
        request = self.request
        upload = await request.parts.find_multipart(request.location, request.query["uploadId"])
        there = await request.parts.list_parts(request.location, upload.id)
        rest = [part for part in there if part.number > self._marker]
        shown = rest[: self._limit]
        one = algorithm_of(upload)
        body = xml.document(
            "ListPartsResult",
            xml.tag("Bucket", request.target.bucket),
            xml.tag("Key", request.key_shown(request.target.key)),
            xml.tag("UploadId", upload.id),
            xml.block("Initiator", xml.OWNER),
            xml.block("Owner", xml.OWNER),
            xml.tag("StorageClass", "STANDARD"),
            xml.tag("PartNumberMarker", self._marker),
            xml.tag("NextPartNumberMarker", shown[-1].number if shown else self._marker),
            xml.tag("MaxParts", self._limit),
            xml.tag("IsTruncated", 0 < len(shown) < len(rest)),  # of none: or a pager never ends
            xml.tag("EncodingType", request.query.get("encoding-type")),
            xml.tag("ChecksumAlgorithm", one.name if one else None),
            xml.tag("ChecksumType", upload.content.metadata.get(CHECKSUM_TYPE)),
            await in_slices(_shown_part, shown),
        )
        request.send(200, body)


def _shown_part(part: Part) -> str:
    sums = [
        checksum_tag(name.removeprefix(CHECKSUM), value)
        for name, value in part.attributes.items()
        if name.startswith(CHECKSUM)
    ]
    return xml.block(
        "Part",
        xml.tag("PartNumber", part.number),
        xml.tag("LastModified", xml.time_of(part.modified_ns)),
        xml.tag("ETag", f'"{part_tag(part)}"'),
        xml.tag("Size", part.size),
        sums,
    )


def _shown_upload(request: Request, root: str, upload: Multipart) -> str:
    return xml.block(
        "Upload",
        xml.tag("Key", request.key_shown(upload.location.removeprefix(root))),
        xml.tag("UploadId", upload.id),
        xml.block("Initiator", xml.OWNER),
        xml.block("Owner", xml.OWNER),
        xml.tag("StorageClass", "STANDARD"),
        xml.tag("Initiated", xml.time_of(upload.begun_ns)),
        xml.tag("ChecksumAlgorithm", upload.content.metadata.get(ALGORITHM)),
        xml.tag("ChecksumType", upload.content.metadata.get(CHECKSUM_TYPE)),
    )


class ListMultipartUploads(BucketList):
    """The uploads under way in a bucket, in pages."""

    LIMIT = "max-uploads"

    async def answer(self) -> None:
        """See Operation."""
        request = self.request
        await require_bucket(request)
        uploads, prefixes, more = await self._page()
        bucket = request.target.bucket
        root = f"{bucket}/"
        shown = await in_slices(partial(_shown_upload, request, root), uploads)
        folded = await in_slices(partial(common_prefix, request), prefixes)
        last_key = uploads[-1].location.removeprefix(root) if uploads else ""
        last_is_prefix = bool(prefixes) and prefixes[-1] > last_key
        body = xml.document(
            "ListMultipartUploadsResult",
            xml.tag("Bucket", bucket),
            xml.tag("KeyMarker", request.key_shown(request.text("key-marker"))),
            xml.tag("UploadIdMarker", request.query.get("upload-id-marker", "")),
            xml.tag(
                "NextKeyMarker",
                request.key_shown(prefixes[-1] if last_is_prefix else last_key) if more else None,
            ),
            xml.tag("NextUploadIdMarker", uploads[-1].id if more and not last_is_prefix else None),
            xml.tag("Prefix", request.key_shown(self._prefix)),
            xml.tag("Delimiter", request.key_shown(self._delimiter) if self._delimiter else None),
            xml.tag("EncodingType", request.query.get("encoding-type")),
            xml.tag("MaxUploads", self._limit),
            xml.tag("IsTruncated", more),
            shown,
            folded,
        )
        request.send(200, body)

    async def _page(self) -> tuple[list[Multipart], list[str], bool]:
        request = self.request
        root = f"{request.target.bucket}/"
        marker, id_marker = request.text("key-marker"), request.query.get("upload-id-marker", "")
        after = (root + marker, id_marker or chr(0x10FFFF)) if marker else ("", "")
        uploads: list[Multipart] = []
        prefixes: list[str] = []
        while True:
            await asyncio.sleep(0)  # a group may have any number of them
            some = await request.parts.list_multiparts(root + self._prefix, after, self._limit + 1)
            for upload in some:
                after = (upload.location, upload.id)
                key = upload.location.removeprefix(root)
                cut = key.find(self._delimiter, len(self._prefix)) if self._delimiter else -1
                group = key[: cut + len(self._delimiter)] if cut >= 0 else None
                if group is not None and group in (*prefixes[-1:], marker):
                    continue
                if len(uploads) + len(prefixes) == self._limit:
                    return uploads, prefixes, self._limit > 0  # who asks for none would ask for ever
                if group is None:
                    uploads.append(upload)
                else:
                    prefixes.append(group)
            if len(some) <= self._limit:
                return uploads, prefixes, False
