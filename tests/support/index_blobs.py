"""Blobs for an index that no store has made: only their locations and numbers differ."""

from __future__ import annotations

from services.engines.local.disk.blob import Blob

SALT = b"0123456789abcdef"  # of the runs that hold them


def blob(location: str, number: int) -> Blob:
    """Its id, sequence number and size are `number`."""
    return Blob.make(
        location=location,
        id=number,
        seq=number,
        size=number,
        sha256=bytes(32),
        crcs=b"1234",
        type="",
        encoding="",
        modified_ns=0,
    )
