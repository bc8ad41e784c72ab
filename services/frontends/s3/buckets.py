"""Buckets: the first segments of locations, and records that they exist.

A bucket exists if it has a record, or if anything is under its name, natively written blobs included. A
record is a blob of its own, so CreateBucket is as exclusive and as durable as any write.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from common.errors import AlreadyExists, NotFound, UnknownUpload
from services.access.decisions import Action
from services.frontends.s3 import xml
from services.frontends.s3.body import XmlOperation
from services.frontends.s3.errors import S3Error, not_implemented
from services.frontends.s3.names import BUCKET_RECORD, is_bucket_name
from services.frontends.s3.request import Operation, Request
from services.store import Blob, Content, Store, unconditional

_RECORD = Content("application/json")
_RECORD_BODY = b"{}\n"
_STEP = 1000
# So many entries of the top level are read for one page of ListBuckets. Among millions of blobs without a
# bucket, the other buckets follow on the next page.
_MAX_LOOKED_AT = 10_000


def has_record(store: Store, bucket: str) -> bool:
    """Whether the bucket has a record, if its store tells that without waiting. False says nothing."""
    return store.peek(BUCKET_RECORD + bucket, body=False) is not None


async def bucket_exists(request: Request, bucket: str) -> bool:
    """Whether the bucket exists."""
    store = request.store
    if has_record(store, bucket):
        return True
    if await store.stat(BUCKET_RECORD + bucket) is not None:
        return True
    page = await store.list(f"{bucket}/", "", "", 1)
    return bool(page.blobs)


async def require_bucket(request: Request, bucket: str | None = None) -> None:
    """Raise S3Error if the bucket does not exist."""
    name = request.target.bucket if bucket is None else bucket
    if not await bucket_exists(request, name):
        raise S3Error("NoSuchBucket", "The specified bucket does not exist.", BucketName=name)


async def missing_object(request: Request) -> S3Error:
    """The error for a missing object, which depends on whether its bucket exists."""
    await require_bucket(request)
    return S3Error("NoSuchKey", "The specified key does not exist.", Key=request.target.key)


async def require_there(request: Request) -> None:
    """Raise S3Error if the bucket or the object that the request is for does not exist."""
    if not request.target.key:
        await require_bucket(request)
    elif await request.store.stat(request.location) is None:
        raise await missing_object(request)


class ListBuckets(Operation):
    """The buckets that the client may see, in pages if it asks for pages."""

    async def answer(self) -> None:
        """See Operation."""
        request = self.request
        most = request.number("max-buckets", 10_000, 10_000)
        if not most:
            raise S3Error("InvalidArgument", "max-buckets is a number from 1 up.")
        prefix, token = request.text("prefix"), request.text("continuation-token")
        shown: list[str] = []
        last = ""
        following: str | None = None
        async for name, created_ns in _buckets(request, prefix, token):
            if created_ns is None or len(shown) == most:
                following = name if created_ns is None else last
                break
            last = name
            shown.append(
                xml.block("Bucket", xml.tag("Name", name), xml.tag("CreationDate", xml.time_of(created_ns)))
            )
        body = xml.document(
            "ListAllMyBucketsResult",
            xml.block("Owner", xml.OWNER),
            xml.block("Buckets", shown),
            xml.tag("Prefix", prefix or None),
            xml.tag("ContinuationToken", following),
        )
        request.send(200, body)


async def _buckets(request: Request, prefix: str, after: str) -> AsyncIterator[tuple[str, int | None]]:
    """Names greater than `after`, in order, with their creation (Unix time in nanoseconds).

    A name with None ends the page: too many entries were read for one.
    """
    region = request.config.s3_region
    if request.text("bucket-region", region) != region:
        return
    recorded, folders = _Records(request, prefix, after), _Folders(request, prefix, after)
    record, folder = await recorded.next(), await folders.next()
    while record is not None or folder is not None:
        if folders.looked_at > _MAX_LOOKED_AT:
            yield folders.last, None
            return
        if record is not None and (folder is None or record[0] <= folder):
            if folder == record[0]:
                folder = await folders.next()
            if request.sees(record[0]):
                yield record
            record = await recorded.next()
        else:
            assert folder is not None
            if is_bucket_name(folder) and request.sees(folder):
                first = await request.store.list(f"{folder}/", "", "", 1)
                if first.blobs:
                    yield folder, first.blobs[0].modified_ns
            folder = await folders.next()


class _Records:
    """The records of buckets, by name."""

    def __init__(self, request: Request, prefix: str, after: str) -> None:
        self._store = request.store
        self._prefix = BUCKET_RECORD + prefix
        self._after: str | None = BUCKET_RECORD + after if after else ""
        self._held: list[Blob] = []

    async def next(self) -> tuple[str, int] | None:
        while not self._held and self._after is not None:
            page = await self._store.list(self._prefix, "", self._after, _STEP)
            self._held, self._after = [*reversed(page.blobs)], page.next
        if not self._held:
            return None
        blob = self._held.pop()
        return blob.location.removeprefix(BUCKET_RECORD), blob.modified_ns


class _Folders:
    """The first segments of locations, by name."""

    def __init__(self, request: Request, prefix: str, after: str) -> None:
        self._store = request.store
        self._prefix = prefix
        # Skip everything in a folder that was already returned.
        self._after: str | None = f"{after}/" if after else ""
        self._held: list[str] = []
        self.looked_at = 0
        self.last = ""

    async def next(self) -> str | None:
        while not self._held and self._after is not None and self.looked_at <= _MAX_LOOKED_AT:
            page = await self._store.list(self._prefix, "/", self._after, _STEP)
            self.looked_at += len(page.blobs) + len(page.prefixes)
            self._held, self._after = [*reversed(page.prefixes)], page.next
            self.last = (page.next or "").rstrip("/")
        return self._held.pop()[:-1] if self._held else None


class CreateBucket(XmlOperation):
    """200, also if it exists already: all buckets have one owner."""

    async def begin(self) -> None:
        """See Operation."""
        await super().begin()
        bucket = self.request.target.bucket
        if not is_bucket_name(bucket):
            rule = "3 to 63 of a-z 0-9 . -, with a letter or digit at both ends, not two dots, no IP address"
            raise S3Error("InvalidBucketName", f"The specified bucket is not valid. A name is {rule}.")
        self.request.check(Action.CREATE, f"{bucket}/")

    async def answer(self) -> None:
        """See Operation."""
        request = self.request
        said = await self.document("CreateBucketConfiguration")
        if said is not None:
            _check_configuration(said, request.config.s3_region)

        def judge(blob: Blob | None, damaged: bool) -> None:
            if blob is not None:
                raise AlreadyExists("It is there.")

        # As in us-east-1: to create one's own bucket again is no error.
        with contextlib.suppress(AlreadyExists):
            await request.store.write_whole(
                BUCKET_RECORD + request.target.bucket, judge, _RECORD, _RECORD_BODY
            )
        request.send(200, fields=[("Location", f"/{request.target.bucket}")])


def _check_configuration(said: xml.Element, region: str) -> None:
    """Raise S3Error for a bucket that is to be elsewhere, or to have what buckets here have not."""
    for one in said.children:
        if one.name != "LocationConstraint":
            raise not_implemented(f"{one.name[:40]} of a bucket")
    where = (said.get("LocationConstraint") or "").strip()
    if where not in ("", region):
        text = f"The {where[:40]} location constraint is incompatible: the region here is {region}."
        raise S3Error("IllegalLocationConstraintException", text)


class HeadBucket(Operation):
    """200 or 404, without a body."""

    async def begin(self) -> None:
        """See Operation."""
        self.request.check_bucket()

    async def answer(self) -> None:
        """See Operation."""
        await require_bucket(self.request)
        self.request.send(200, fields=[("x-amz-bucket-region", self.request.config.s3_region)])


class DeleteBucket(Operation):
    """204; 409 while anything is in it."""

    async def begin(self) -> None:
        """See Operation."""
        self.request.check(Action.DELETE, f"{self.request.target.bucket}/")

    async def answer(self) -> None:
        """See Operation."""
        request = self.request
        bucket = request.target.bucket
        await require_bucket(request)
        if (await request.store.list(f"{bucket}/", "", "", 1)).blobs:
            raise S3Error("BucketNotEmpty", "The bucket you tried to delete is not empty.")
        while uploads := await request.parts.list_multiparts(f"{bucket}/", ("", ""), _STEP):
            for upload in uploads:  # they are deleted with their bucket, as in S3
                with contextlib.suppress(UnknownUpload):
                    await request.parts.abort_multipart(upload.location, upload.id)
        try:
            await request.store.delete(BUCKET_RECORD + bucket, unconditional)
        except NotFound:
            raise S3Error("NoSuchBucket", "The specified bucket does not exist.") from None
        request.send(204)


class GetBucketLocation(Operation):
    """The region; empty for us-east-1, as S3 has it."""

    async def begin(self) -> None:
        """See Operation."""
        self.request.check_bucket()

    async def answer(self) -> None:
        """See Operation."""
        await require_bucket(self.request)
        region = self.request.config.s3_region
        inner = "" if region == "us-east-1" else xml.escape(region)
        self.request.send(200, xml.document("LocationConstraint", inner))
