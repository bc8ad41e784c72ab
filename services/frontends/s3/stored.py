"""The attributes of an object: from the fields of a request, and back into the fields of an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping

from common.errors import BadRequest
from services.frontends.s3.checksums import ALGORITHMS, COMPOSITE, FULL_OBJECT, HEADER, Algorithm
from services.frontends.s3.errors import S3Error
from services.frontends.s3.etags import etag_of, modified_s
from services.rules.answers import STORED_CSP, Fields
from services.rules.dates import format_http_date
from services.rules.metadata import MAX_BYTES, PREFIX, STANDARD, check_metadata
from services.rules.uploads import DEFAULT_MEDIA_TYPE, fits_field, stored_encoding, stored_media_type
from services.store import Blob, Content

META = "x-amz-meta-"
_META_CHARS = len(META)
CHECKSUM = ".s3-checksum-"  # and the algorithm in lower case
CHECKSUM_TYPE = ".s3-checksum-type"
PARTS = ".s3-parts"
MAX_PARTS = 10_000

# These were checked when they were stored; a record that was made by hand may hold anything.
_SUM = re.compile(r"[A-Za-z0-9+/]{2,90}={0,2}(?:-[0-9]{1,5})?")
_PART_SIZES = re.compile(r"[0-9]{1,13}(?:x[0-9]{1,5})?(?:,[0-9]{1,13}(?:x[0-9]{1,5})?)*")
_MAX_PARTS_CHARS = 20 * MAX_PARTS


def content_of(fields: Mapping[str, str]) -> Content:
    """The attributes that the fields of a request give an object. Raises S3Error."""
    metadata = {name: fields[name].strip(" \t") for name in STANDARD if name in fields}
    for name, value in fields.items():
        if name[:_META_CHARS] == META and name != META:  # a slice costs less than a call
            metadata[PREFIX + name[_META_CHARS:]] = value.strip(" \t")
    try:
        if metadata:
            check_metadata(metadata)
        given = fields.get("content-encoding")
        encoding = stored_encoding(_without_framing(given)) if given else ""
    except BadRequest as err:
        if "2048" in str(err):
            text = f"Your metadata headers exceed the maximum allowed metadata size of {MAX_BYTES} bytes."
            raise S3Error("MetadataTooLarge", text) from err
        raise S3Error("InvalidArgument", str(err)) from err
    return Content(stored_media_type(fields.get("content-type")), encoding, metadata)


def _without_framing(encoding: str) -> str:
    """A Content-Encoding without aws-chunked, which belongs to the request and not to the object."""
    if "aws-chunked" not in encoding.lower():
        return encoding
    codings = [coding.strip(" \t") for coding in encoding.split(",")]
    return ", ".join(coding for coding in codings if coding and coding.lower() != "aws-chunked")


def object_fields(blob: Blob) -> Fields:
    """The fields of a GET or HEAD of an object, without length and checksums."""
    fields = [
        ("ETag", f'"{etag_of(blob)}"'),
        ("Last-Modified", format_http_date(modified_s(blob))),
        ("Accept-Ranges", "bytes"),
        ("Content-Type", blob.type if fits_field(blob.type) else DEFAULT_MEDIA_TYPE),
        # A stored page must not act on this origin: see the native front end.
        ("Content-Security-Policy", STORED_CSP),
    ]
    if blob.encoding and fits_field(blob.encoding):
        fields.append(("Content-Encoding", blob.encoding))
    fields += metadata_fields(blob)
    return fields


def metadata_fields(blob: Blob) -> Fields:
    """The fields with the metadata. A value that cannot be in a header is left out: it could add a field."""
    fields = []
    for name, value in blob.metadata.items():
        given = META + name.removeprefix(PREFIX) if name.startswith(PREFIX) else name
        if name.startswith(".") or not (name in STANDARD or name.startswith(PREFIX)):
            continue
        if fits_answer(value):
            fields.append((given, value))
    return fields


def fits_answer(value: str) -> bool:
    """Whether an answer can have a field with this value, one character a byte, UTF-8 too."""
    return all(" " <= c <= "~" or "\x80" <= c <= "\xff" or c == "\t" for c in value)


def checksum_of(blob: Blob) -> tuple[str, str, str] | None:
    """(algorithm in lower case, value, type) of the checksum that an object came with; None without one."""
    for name, value in blob.metadata.items():
        algorithm = name.removeprefix(CHECKSUM)
        if name.startswith(CHECKSUM) and algorithm.upper() in ALGORITHMS and _SUM.fullmatch(value):
            kind = blob.metadata.get(CHECKSUM_TYPE)
            return algorithm, value, kind if kind in (FULL_OBJECT, COMPOSITE) else FULL_OBJECT
    return None


def with_checksum(source: Blob, said: Content | None, one: Algorithm, value: str) -> Content:
    """The attributes of a copy of `source` whose checksum by `one` is `value`; `said`: see services.copying.

    Those of the parts are by another algorithm: they are left out, and the lengths stay.
    """
    if said is None:
        shown = {name: text for name, text in source.metadata.items() if not name.startswith(".")}
        said = Content(source.type, source.encoding, shown)
    sums = {name: "" for name in source.metadata if name.startswith(CHECKSUM)}
    sums |= {CHECKSUM_TYPE: FULL_OBJECT, CHECKSUM + one.name.lower(): value}
    if PARTS in source.metadata:
        sums[PARTS] = source.metadata[PARTS].partition(";")[0]
    return Content(said.type, said.encoding, {**said.metadata, **sums})


def checksum_fields(blob: Blob) -> Fields:
    """The fields with the checksum, for a client that asks for it."""
    found = checksum_of(blob)
    if found is None:
        return []
    name, value, kind = found
    return [(HEADER + name, value), (HEADER + "type", kind)]


def format_parts(sizes: list[int]) -> str:
    """The lengths of the parts of an object, in short: `8388608x12,77`."""
    runs: list[list[int]] = []
    for size in sizes:
        if runs and runs[-1][0] == size:
            runs[-1][1] += 1
        else:
            runs.append([size, 1])
    return ",".join(f"{size}x{count}" if count > 1 else str(size) for size, count in runs)


def parse_parts(text: str) -> list[int] | None:
    """The inverse of `format_parts`; None for a text that it would not have written."""
    if len(text) > _MAX_PARTS_CHARS or not _PART_SIZES.fullmatch(text):
        return None
    runs = [run.partition("x") for run in text.split(",")]
    if sum(int(count or 1) for _, _, count in runs) > MAX_PARTS:
        return None
    return [int(size) for size, _, count in runs for _ in range(int(count or 1))]


def part_sizes(blob: Blob) -> list[int] | None:
    """The lengths of the parts of an object; None if it came in one piece, or if a record that was made by
    hand has impossible lengths."""
    text = blob.metadata.get(PARTS)
    sizes = parse_parts(text.partition(";")[0]) if text else None
    return sizes if sizes is not None and sum(sizes) == blob.size else None


def part_checksums(blob: Blob) -> list[str]:
    """The checksums of the parts, if each has one."""
    sums = blob.metadata.get(PARTS, "").partition(";")[2].split(" ")
    return sums if all(map(_SUM.fullmatch, sums)) else []
