"""Header fields of blobs."""

from __future__ import annotations

import time

from services.engines.local.disk.blob import Blob
from services.frontends.native.headers import blob_fields, modified_s
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
        said = parse_http_date(dict(blob_fields(blob))["Last-Modified"], before)
        assert said is not None
        assert said <= int(time.time())
        assert min(written_ns // 10**9, before) <= modified_s(blob)
