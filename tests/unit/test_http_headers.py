"""Header fields of blobs."""

from __future__ import annotations

import time

import pytest

from services.engines.local.disk.blob import Blob
from services.frontends.native.headers import blob_fields, modified_s, sent_blob_fields
from services.frontends.s3.stored import object_fields
from services.rules.answers import sent
from services.rules.dates import parse_http_date


def test_a_clock_that_was_ahead_makes_no_last_modified_later_than_date() -> None:
    """RFC 9110, section 8.8.2.1."""
    for ahead_s in (-60, 3600, 10**9):
        written_ns = (int(time.time()) + ahead_s) * 10**9
        blob = Blob.make(
            location="a",
            id=1,
            seq=1,
            size=0,
            sha256=bytes(32),
            crcs=b"",
            type="",
            encoding="",
            modified_ns=written_ns,
        )
        before = int(time.time())
        for fields in (blob_fields(blob), object_fields(blob)):
            said = parse_http_date(dict(fields)["Last-Modified"], before)
            assert said is not None
            assert said <= int(time.time())
        assert min(written_ns // 10**9, before) <= modified_s(blob)


@pytest.mark.parametrize("kind", ["text/plain", 'a/b; q="100%s %d"', "Video/mp4", "", "no\r\nfield: of mine"])
@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize("metadata", [{}, {"cache-control": "max-age=60", "x-meta-a": "b"}])
def test_fields_that_are_sent_are_those_of_handlers(
    kind: str, encoding: str, metadata: dict[str, str]
) -> None:
    blob = Blob.make(
        location="a",
        id=65_535,
        seq=1,
        size=1 << 40,
        sha256=bytes(range(32)),
        crcs=b"",
        type=kind,
        encoding=encoding,
        modified_ns=1_000_000_000 * 10**9,
        metadata=metadata,
    )
    assert sent_blob_fields(blob) == sent(blob_fields(blob))
