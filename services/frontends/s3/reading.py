"""GetObject, HeadObject and GetObjectAttributes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from tornado.iostream import StreamClosedError

from common.errors import NotFound, RangeNotSatisfiable
from services.access.decisions import Action
from services.frontends.s3 import xml
from services.frontends.s3.buckets import missing_object
from services.frontends.s3.checksums import HEADER
from services.frontends.s3.errors import S3Error
from services.frontends.s3.etags import conditions, etag_of, modified_s, not_held
from services.frontends.s3.request import Operation, Request
from services.frontends.s3.stored import (
    checksum_fields,
    checksum_of,
    fits_answer,
    object_fields,
    part_checksums,
    part_sizes,
)
from services.rules.answers import Fields
from services.rules.conditions import NOT_MODIFIED, PRECONDITION_FAILED, evaluate, if_range_holds
from services.rules.dates import format_http_date
from services.rules.ranges import Range, content_range, parse_ranges
from services.store import Blob

_OVERRIDES = {
    "response-cache-control": "cache-control",
    "response-content-disposition": "content-disposition",
    "response-content-encoding": "content-encoding",
    "response-content-language": "content-language",
    "response-content-type": "content-type",
    "response-expires": "expires",
}
_ATTRIBUTES = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")


class GetObject(Operation):
    """200 and the bytes; 206, 304, 404, 412, 416."""

    async def begin(self) -> None:
        """See Operation."""
        self.request.check(Action.READ, self.request.location)
        self.request.check_version()
        overridden = any(name in self.request.query for name in _OVERRIDES)
        if overridden and self.request.client is not None and self.request.signed is None:
            raise S3Error("InvalidRequest", "Request specific response headers need a signed request.")

    async def answer(self) -> None:
        """See Operation."""
        request = self.request
        if request.method == "HEAD":
            blob = await request.store.stat(request.location)
            if blob is None:
                raise await missing_object(request)
            self._begin(blob)
            return
        try:  # without a stat first, which may be a request over a network
            reading = await request.store.open(request.location)
        except NotFound:
            raise await missing_object(request) from None
        try:
            part = self._begin(reading.blob)
            if part is not None:
                await request.answering.send_range(reading, *part)
        except StreamClosedError:
            pass  # the client has left
        finally:
            reading.close()

    def _begin(self, blob: Blob) -> Range | None:
        """Judge the conditions and begin the answer. Returns the bytes to send; None for none."""
        request = self.request
        tag = f'"{etag_of(blob)}"'
        verdict = evaluate(conditions(request.fields), tag, modified_s(blob), "GET")
        if verdict is PRECONDITION_FAILED:
            raise not_held()
        if verdict is NOT_MODIFIED:
            request.send(304, fields=[("ETag", tag), ("Last-Modified", format_http_date(modified_s(blob)))])
            return None
        part = self._part(blob)
        fields = [*_overridden(object_fields(blob), request)]
        sizes = part_sizes(blob)
        if sizes is not None and "partNumber" in request.query:
            fields.append(("x-amz-mp-parts-count", str(len(sizes))))
        if request.fields.get("x-amz-checksum-mode", "").upper() == "ENABLED":
            fields += self._checksums(blob, whole=part is None)
        if part is None:
            request.answering.begin(200, [*fields, ("Content-Length", str(blob.size))])
            return (0, blob.size - 1) if blob.size and request.method == "GET" else None
        length = ("Content-Length", str(part[1] + 1 - part[0]))
        if blob.size:
            fields.append(("Content-Range", content_range(part, blob.size)))
        request.answering.begin(206, [*fields, length])
        return part if request.method == "GET" and part[0] <= part[1] else None

    def _checksums(self, blob: Blob, *, whole: bool) -> Fields:
        """The checksums of the bytes that are sent, for the client to compare: of the whole or of a part."""
        if whole:
            return checksum_fields(blob)
        found, sums = checksum_of(blob), part_checksums(blob)
        number = self.request.number("partNumber", 0, 1 << 31)
        if found is None or not 1 <= number <= len(sums):
            return []
        return [(HEADER + found[0], sums[number - 1]), (HEADER + "type", found[2])]

    def _part(self, blob: Blob) -> Range | None:
        """The requested bytes, None for all of them."""
        fields = self.request.fields
        if "partNumber" in self.request.query:
            if "range" in fields:
                raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber parameter.")
            return _bytes_of_part(blob, self.request.number("partNumber", 1, 1 << 31))
        asked = fields.get("range")
        if asked is None:
            return None
        condition = fields.get("if-range")
        if condition is not None and not if_range_holds(condition, f'"{etag_of(blob)}"', modified_s(blob)):
            return None
        if not blob.size and asked.replace(" ", "").startswith("bytes="):
            raise RangeNotSatisfiable("The requested range is not satisfiable: the object is empty.", 0)
        parts = parse_ranges(asked, blob.size)
        return parts[0] if parts is not None and len(parts) == 1 else None


class HeadObject(GetObject):
    """The same without the bytes."""


def _bytes_of_part(blob: Blob, number: int) -> Range:
    sizes = part_sizes(blob)
    count = 1 if sizes is None else len(sizes)
    if not 1 <= number <= count:
        raise S3Error("InvalidPart", "The object has no part of this number.")
    if sizes is None:
        return 0, blob.size - 1
    last = list(accumulate(sizes))[number - 1] - 1
    return last + 1 - sizes[number - 1], last


def _overridden(fields: Fields, request: Request) -> Fields:
    """`fields`, with values from a signed link in place of the stored ones."""
    said = {field: request.query[name] for name, field in _OVERRIDES.items() if name in request.query}
    if not all(map(fits_answer, said.values())):
        raise S3Error("InvalidArgument", "A response header has a character that no header may have.")
    return [(name, value) for name, value in fields if name.lower() not in said] + list(said.items())


class GetObjectAttributes(Operation):
    """ETag, size, checksum and parts of an object, as XML."""

    async def begin(self) -> None:
        """See Operation."""
        self.request.check(Action.READ, self.request.location)
        self.request.check_version()
        asked = self.request.fields.get("x-amz-object-attributes", "")
        self._asked = [name.strip() for name in asked.split(",") if name.strip()]
        if not self._asked or any(name not in _ATTRIBUTES for name in self._asked):
            raise S3Error(
                "InvalidArgument", f"x-amz-object-attributes names some of {', '.join(_ATTRIBUTES)}."
            )

    async def answer(self) -> None:
        """See Operation."""
        request = self.request
        blob = await request.store.stat(request.location)
        if blob is None:
            raise await missing_object(request)
        tag = f'"{etag_of(blob)}"'
        if evaluate(conditions(request.fields), tag, modified_s(blob), "GET") is PRECONDITION_FAILED:
            raise not_held()
        shown = {
            "ETag": xml.tag("ETag", etag_of(blob)),
            "Checksum": _checksum(blob),
            "ObjectParts": _parts(blob, request.fields),
            "StorageClass": xml.tag("StorageClass", "STANDARD"),
            "ObjectSize": xml.tag("ObjectSize", blob.size),
        }
        inner = [text for name, text in shown.items() if name in self._asked]
        body = xml.document("GetObjectAttributesResponse", inner)
        request.send(200, body, [("Last-Modified", format_http_date(modified_s(blob)))])


def checksum_tag(name: str, value: str) -> str:
    """`<ChecksumCRC32>...</ChecksumCRC32>`; `name` as in a header."""
    return xml.tag(f"Checksum{name.upper()}", value)


def _checksum(blob: Blob) -> str:
    found = checksum_of(blob)
    if found is None:
        return ""
    name, value, kind = found
    return xml.block("Checksum", checksum_tag(name, value), xml.tag("ChecksumType", kind))


def _parts(blob: Blob, fields: Mapping[str, str]) -> str:
    sizes = part_sizes(blob)
    if sizes is None:
        return ""
    most, marker = _number(fields, "x-amz-max-parts", 1000), _number(fields, "x-amz-part-number-marker", 0)
    found = checksum_of(blob)
    sums = part_checksums(blob)
    shown = [
        xml.block(
            "Part",
            xml.tag("PartNumber", number),
            xml.tag("Size", size),
            checksum_tag(found[0], sums[number - 1]) if found and len(sums) == len(sizes) else "",
        )
        for number, size in enumerate(sizes, 1)
        if number > marker
    ]
    truncated = len(shown) > most
    return xml.block(
        "ObjectParts",
        xml.tag("PartsCount", len(sizes)),
        xml.tag("PartNumberMarker", marker),
        xml.tag("NextPartNumberMarker", min(marker + most, len(sizes)) if truncated else len(sizes)),
        xml.tag("MaxParts", most),
        xml.tag("IsTruncated", truncated),
        shown[:most],
    )


def _number(fields: Mapping[str, str], name: str, default: int) -> int:
    text = fields.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise S3Error("InvalidArgument", f"{name} is not a number.")
    return min(int(text), 10_000)
