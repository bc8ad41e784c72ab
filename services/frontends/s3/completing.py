"""CompleteMultipartUpload: the parts that a client names become an object."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from common.errors import UnknownUpload
from services.access.decisions import Action
from services.frontends.s3 import checksums, xml
from services.frontends.s3.body import XmlOperation
from services.frontends.s3.checksums import FULL_OBJECT, Algorithm
from services.frontends.s3.errors import S3Error
from services.frontends.s3.etags import ETAG, etag_of, multipart_tag, write_condition
from services.frontends.s3.multipart import algorithm_of, check_begun_by, part_tag
from services.frontends.s3.reading import checksum_tag
from services.frontends.s3.stored import CHECKSUM, CHECKSUM_TYPE, MAX_PARTS, PARTS, checksum_of, format_parts
from services.frontends.s3.writing import MAX_OBJECT_BYTES
from services.store import UPLOAD_ID, Blob, Multipart, Part

T = TypeVar("T")
_FEW_PARTS = 50  # of more, a thread looks at what is said: that takes 25 µs for each
MIN_PART_BYTES = 5 << 20  # of all but the last, as in S3: so the record of a part is small beside the part
_TAG = re.compile(r"[0-9a-f]{32}(?:-1)?")  # of a part: see part_tag


class CompleteMultipartUpload(XmlOperation):
    """200 and the object's ETag, when the object is durable. A repeated request gets the same answer."""

    MAX_BYTES = 8 << 20  # 10,000 parts, each with its checksums

    async def begin(self) -> None:
        """See Operation."""
        request = self.request
        # The header may name the checksum of the whole object, which is not that of this document.
        self._fields = {
            name: value for name, value in request.fields.items() if name.startswith(checksums.HEADER)
        }
        request.fields = {name: value for name, value in request.fields.items() if name not in self._fields}
        request.check(Action.CREATE, request.location)
        await super().begin()

    async def answer(self) -> None:
        """See Operation."""
        request = self.request
        root = await self.document("CompleteMultipartUpload")
        wanted = root.all("Part") if root is not None else []
        if not wanted or len(wanted) > MAX_PARTS or root is None or len(wanted) < len(root.children):
            raise xml.malformed()
        upload_id = request.query["uploadId"]
        blob = await self._completed(upload_id, wanted)
        if blob is None:
            try:
                blob = await self._complete(upload_id, wanted)
            except UnknownUpload:  # by another request meanwhile?
                blob = await self._completed(upload_id, wanted)
                if blob is None:
                    raise
        found = checksum_of(blob)
        body = xml.document(
            "CompleteMultipartUploadResult",
            xml.tag("Location", f"/{request.target.bucket}/{request.target.key}"),
            xml.tag("Bucket", request.target.bucket),
            xml.tag("Key", request.target.key),
            xml.tag("ETag", f'"{etag_of(blob)}"'),
            checksum_tag(found[0], found[1]) if found else "",
            xml.tag("ChecksumType", found[2] if found else None),
        )
        request.send(200, body)

    async def _completed(self, upload_id: str, wanted: Sequence[xml.Element]) -> Blob | None:
        """The object that the upload has become of these parts, for a client that did not get the answer."""
        request = self.request
        there = await request.store.stat(request.location)
        if there is None or there.metadata.get(UPLOAD_ID) != upload_id:
            return None
        return there if await _judged(wanted, partial(_names, wanted, etag_of(there))) else None

    async def _complete(self, upload_id: str, wanted: Sequence[xml.Element]) -> Blob:
        request = self.request
        store, location = request.parts, request.location
        upload = await store.find_multipart(location, upload_id)
        check_begun_by(request, upload, Action.UPDATE)
        there = await store.list_parts(location, upload_id)
        parts, attributes = await _judged(wanted, partial(self._made_of, upload, there, wanted))
        condition = write_condition(request.fields, request.check_update)
        return (await store.complete_multipart(location, upload_id, parts, condition, attributes))[0]

    def _made_of(
        self, upload: Multipart, there: Sequence[Part], wanted: Sequence[xml.Element]
    ) -> tuple[Sequence[Part], dict[str, str]]:
        """The parts that are wanted, and the attributes of what they become. Raises S3Error."""
        request = self.request
        parts = _chosen(there, wanted)
        size = sum(part.size for part in parts)
        if size > MAX_OBJECT_BYTES:
            raise S3Error("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size.")
        if request.fields.get("x-amz-mp-object-size", str(size)) != str(size):
            raise S3Error("InvalidRequest", f"x-amz-mp-object-size is not {size}, the size of the parts.")
        tag = multipart_tag(part_tag(part) for part in parts)
        return parts, {ETAG: tag, **self._checksum(upload, parts)}

    def _checksum(self, upload: Multipart, parts: Sequence[Part]) -> dict[str, str]:
        """The checksums and lengths to store: `.s3-parts` has the lengths, then each part's checksum."""
        sizes = format_parts([part.size for part in parts])
        one, kind = algorithm_of(upload), upload.content.metadata.get(CHECKSUM_TYPE)
        name = CHECKSUM + one.name.lower() if one is not None else ""
        values = [part.attributes.get(name, "") for part in parts]
        if one is None or not all(values):
            self._check_said(None, "", None)
            return {PARTS: sizes}
        if kind == FULL_OBJECT:
            pairs = zip(values, (part.size for part in parts), strict=True)
            value = checksums.full_object(one, pairs)
        else:
            value = checksums.composite(one, values)
        self._check_said(one, value, kind)
        return {PARTS: f"{sizes};{' '.join(values)}", name: value}

    def _check_said(self, one: Algorithm | None, value: str, kind: str | None) -> None:
        """Raise S3Error if the header says another checksum or type; `one`: None if the object has none."""
        for field, said in self._fields.items():
            if field == checksums.HEADER + "type":
                is_right = said.upper() == kind
            elif field == checksums.HEADER + "algorithm":
                is_right = one is not None and said.upper() == one.name
            elif one is not None and field == one.header:
                # That of the parts' checksums may be without their number.
                if said != value and (kind == FULL_OBJECT or said != value.rpartition("-")[0]):
                    text = f"The {one.name} you specified did not match the calculated checksum."
                    raise S3Error("BadDigest", text)
                continue
            else:
                is_right = False
            if not is_right:
                text = f"The header {field} is not that of the upload: it has no such checksum to compare."
                raise S3Error("InvalidRequest", text)


async def _judged(wanted: Sequence[xml.Element], judge: Callable[[], T]) -> T:
    """What `judge` says of the parts that are wanted; it is pure."""
    return judge() if len(wanted) <= _FEW_PARTS else await asyncio.to_thread(judge)


def _names(wanted: Sequence[xml.Element], etag: str) -> bool:
    """Whether these are the parts of the object with this ETag."""
    tags = [_tag_of(one) for one in wanted]
    return all(map(_TAG.fullmatch, tags)) and multipart_tag(tags) == etag


def _chosen(there: Sequence[Part], wanted: Sequence[xml.Element]) -> list[Part]:
    """The parts that a completion names. Raises S3Error if one differs from what it says."""
    by_number = {part.number: part for part in there}
    chosen: list[Part] = []
    for one in wanted:
        number = (one.get("PartNumber") or "").strip()
        if not (number.isascii() and number.isdigit() and len(number) < 6):
            raise xml.malformed()
        part = by_number.get(int(number))
        tag = _tag_of(one)
        if part is None or tag != part_tag(part) or not _same_checksums(part, one):
            raise S3Error(
                "InvalidPart",
                "One or more of the specified parts could not be found. The part may not have been uploaded, "
                "or the specified entity tag may not match the part's entity tag.",
                PartNumber=number,
                ETag=tag,
            )
        if chosen and part.number <= chosen[-1].number:
            raise S3Error("InvalidPartOrder", "The list of parts was not in ascending order.")
        chosen.append(part)
    if any(part.size < MIN_PART_BYTES for part in chosen[:-1]):
        raise S3Error("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
    return chosen


def _tag_of(said: xml.Element) -> str:
    """The ETag that a completion names for a part, without quotes."""
    return (said.get("ETag") or "").strip().strip('"')


def _same_checksums(part: Part, said: xml.Element) -> bool:
    for child in said.children:
        name = child.name.removeprefix("Checksum")
        if name == child.name or not child.value:
            continue
        if part.attributes.get(CHECKSUM + checksums.algorithm(name).name.lower()) != child.value:
            return False
    return True
