"""ListObjects, ListObjectsV2, ListObjectVersions: pages of a bucket's keys.

The store folds at slashes, at the cost of what a page holds. At any other delimiter the keys are folded here:
each folded group is skipped by asking the store for what follows it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from functools import partial
from typing import NamedTuple

from services.access.decisions import Action
from services.frontends.s3 import xml
from services.frontends.s3.buckets import require_bucket
from services.frontends.s3.errors import S3Error
from services.frontends.s3.etags import etag_of
from services.frontends.s3.request import Operation, Request
from services.frontends.s3.slices import in_slices
from services.frontends.s3.stored import checksum_of
from services.store import Blob, Store

_MAX_ENTRIES = 1000  # of one page
_HIGHEST = chr(0x10FFFF)


class KeyPage(NamedTuple):
    """One page. Keys and prefixes are without the bucket. `next`: the last entry, if more follow."""

    blobs: list[Blob]
    prefixes: list[str]
    next: str | None


async def list_page(
    store: Store, bucket: str, prefix: str, delimiter: str, after: str, limit: int
) -> KeyPage:
    """The keys of `bucket` that start with `prefix` and are greater than `after`, folded at `delimiter`."""
    root = f"{bucket}/"
    start = root + after if after else ""
    if limit == 0:
        return KeyPage([], [], None)
    if delimiter in ("", "/"):
        page = await store.list(root + prefix, delimiter, start, limit)
        prefixes = [one.removeprefix(root) for one in page.prefixes]
        return KeyPage([*page.blobs], prefixes, None if page.next is None else page.next.removeprefix(root))
    return await _folded(store, root, prefix, delimiter, start, limit)


async def _folded(store: Store, root: str, prefix: str, delimiter: str, start: str, limit: int) -> KeyPage:
    blobs: list[Blob] = []
    prefixes: list[str] = []
    last: str | None = None
    shown_before = start.removeprefix(root)
    after: str | None = start
    while after is not None:
        await asyncio.sleep(0)  # each page has one group at least: there may be a thousand
        page = await store.list(root + prefix, "", after, limit - len(blobs) - len(prefixes) + 1)
        after = page.next
        for blob in page.blobs:
            key = blob.location.removeprefix(root)
            cut = key.find(delimiter, len(prefix))
            group = key[: cut + len(delimiter)] if cut >= 0 else None
            if group is not None and group in (*prefixes[-1:], shown_before):
                continue
            if len(blobs) + len(prefixes) == limit:
                return KeyPage(blobs, prefixes, last)
            if group is None:
                last = key
                blobs.append(blob)
            else:
                last = group
                prefixes.append(group)
                after = root + group + _HIGHEST * 8
                break
    return KeyPage(blobs, prefixes, None)


class BucketList(Operation):
    """A list of what is in a bucket, in pages. `LIMIT`: the parameter that bounds a page."""

    LIMIT = "max-keys"

    async def begin(self) -> None:
        """See Operation."""
        request = self.request
        request.check_encoding_type()
        self._prefix, self._delimiter = request.text("prefix"), request.text("delimiter")
        self._limit = request.number(self.LIMIT, _MAX_ENTRIES, _MAX_ENTRIES)
        request.check(Action.READ, f"{request.target.bucket}/{self._prefix}")

    async def keys_after(self, after: str) -> KeyPage:
        """The page of keys that follows the key `after`. Raises S3Error if there is no such bucket."""
        request = self.request
        await require_bucket(request)
        bucket = request.target.bucket
        return await list_page(request.store, bucket, self._prefix, self._delimiter, after, self._limit)


class ListObjects(BucketList):
    """Both versions. They differ in how a request says where its page begins."""

    async def begin(self) -> None:
        """See Operation."""
        await super().begin()
        self._is_v2 = "list-type" in self.request.query
        if self._is_v2 and self.request.query["list-type"] != "2":
            raise S3Error("InvalidArgument", "list-type is 2, or left out.")

    async def answer(self) -> None:
        """See Operation."""
        request, bucket = self.request, self.request.target.bucket
        page = await self.keys_after(self._after())
        head = [
            xml.tag("Name", bucket),
            # Clients decode this field only in answers of version 2.
            xml.tag("Prefix", request.key_shown(self._prefix) if self._is_v2 else self._prefix),
            xml.tag("MaxKeys", self._limit),
            xml.tag("Delimiter", request.key_shown(self._delimiter) if self._delimiter else None),
            xml.tag("EncodingType", request.query.get("encoding-type")),
            xml.tag("IsTruncated", page.next is not None),
        ]
        with_owner = not self._is_v2 or request.query.get("fetch-owner", "").lower() == "true"
        contents = await in_slices(partial(_contents, request, bucket, with_owner=with_owner), page.blobs)
        prefixes = await in_slices(partial(common_prefix, request), page.prefixes)
        where = self._where_v2(page) if self._is_v2 else self._where_v1(page)
        request.send(200, xml.document("ListBucketResult", head, where, contents, prefixes))

    def _after(self) -> str:
        request = self.request
        if not self._is_v2:
            return request.text("marker")
        if "continuation-token" in request.query:
            return read_token(request.query["continuation-token"])
        return request.text("start-after")

    def _where_v1(self, page: KeyPage) -> list[str]:
        request = self.request
        shown = page.next if self._delimiter else None  # without one, it is the last key
        return [
            xml.tag("Marker", request.key_shown(request.text("marker"))),
            xml.tag("NextMarker", None if shown is None else request.key_shown(shown)),
        ]

    def _where_v2(self, page: KeyPage) -> list[str]:
        request = self.request
        start = request.query.get("start-after")
        return [
            xml.tag("KeyCount", len(page.blobs) + len(page.prefixes)),
            xml.tag("StartAfter", None if start is None else request.key_shown(request.text("start-after"))),
            xml.tag("ContinuationToken", request.query.get("continuation-token")),
            xml.tag("NextContinuationToken", None if page.next is None else make_token(page.next)),
        ]


def make_token(key: str) -> str:
    """Where the next page begins; opaque to clients."""
    return base64.urlsafe_b64encode(key.encode()).decode()


def read_token(token: str) -> str:
    """The key in a token of ours. Raises S3Error."""
    try:
        return base64.b64decode(token, b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise S3Error("InvalidArgument", "The continuation token provided is incorrect") from None


def _contents(request: Request, bucket: str, blob: Blob, *, with_owner: bool) -> str:
    found = checksum_of(blob)
    return xml.block(
        "Contents",
        xml.tag("Key", request.key_shown(blob.location.removeprefix(f"{bucket}/"))),
        xml.tag("LastModified", xml.time_of(blob.modified_ns)),
        xml.tag("ETag", f'"{etag_of(blob)}"'),
        xml.tag("ChecksumAlgorithm", found[0].upper() if found else None),
        xml.tag("ChecksumType", found[2] if found else None),
        xml.tag("Size", blob.size),
        xml.block("Owner", xml.OWNER) if with_owner else "",
        xml.tag("StorageClass", "STANDARD"),
    )


def _version(request: Request, bucket: str, blob: Blob) -> str:
    return xml.block(
        "Version",
        xml.tag("Key", request.key_shown(blob.location.removeprefix(f"{bucket}/"))),
        xml.tag("VersionId", "null"),
        xml.tag("IsLatest", True),
        xml.tag("LastModified", xml.time_of(blob.modified_ns)),
        xml.tag("ETag", f'"{etag_of(blob)}"'),
        xml.tag("Size", blob.size),
        xml.block("Owner", xml.OWNER),
        xml.tag("StorageClass", "STANDARD"),
    )


def common_prefix(request: Request, prefix: str) -> str:
    """A folded group of keys, as lists show it."""
    return xml.block("CommonPrefixes", xml.tag("Prefix", request.key_shown(prefix)))


class ListObjectVersions(BucketList):
    """Each key once, with its only version, `null`: for programs that delete by version."""

    async def answer(self) -> None:
        """See Operation."""
        request = self.request
        bucket, after = request.target.bucket, request.text("key-marker")
        page = await self.keys_after(after)
        versions = await in_slices(partial(_version, request, bucket), page.blobs)
        prefixes = await in_slices(partial(common_prefix, request), page.prefixes)
        body = xml.document(
            "ListVersionsResult",
            xml.tag("Name", bucket),
            xml.tag("Prefix", request.key_shown(self._prefix)),
            xml.tag("KeyMarker", request.key_shown(after)),
            xml.tag("VersionIdMarker", request.query.get("version-id-marker", "")),
            xml.tag("NextKeyMarker", None if page.next is None else request.key_shown(page.next)),
            xml.tag("NextVersionIdMarker", None if page.next is None else "null"),
            xml.tag("MaxKeys", self._limit),
            xml.tag("Delimiter", request.key_shown(self._delimiter) if self._delimiter else None),
            xml.tag("EncodingType", request.query.get("encoding-type")),
            xml.tag("IsTruncated", page.next is not None),
            versions,
            prefixes,
        )
        request.send(200, body)
