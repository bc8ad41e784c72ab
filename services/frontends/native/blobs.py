"""The blob as a resource: reading it and writing it. No path, lock or sync in here."""

from __future__ import annotations

from services.frontends.native.blob_reading import BlobReading
from services.frontends.native.blob_writing import BlobWriting


class BlobHandler(BlobReading, BlobWriting):
    """/store/{location}"""
