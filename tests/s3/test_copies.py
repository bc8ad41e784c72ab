"""Copies whose client names an algorithm get a checksum by it, of the bytes that are copied."""

from __future__ import annotations

import base64
import hashlib
import zlib
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from services.store import Content
from tests.s3.serving import Served, served
from tests.s3.test_objects import error_of
from tests.support.memory_store import MemoryReading, MemoryStore

BUCKET = "copies"
MIB = 1 << 20
BODY = bytes(range(256)) * 5000
SUMS = {
    "CRC32": base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode(),
    "SHA1": base64.b64encode(hashlib.sha1(BODY).digest()).decode(),
    "SHA256": base64.b64encode(hashlib.sha256(BODY).digest()).decode(),
}


@pytest.fixture
def s3(front: Served) -> Any:
    return front.client()


def head(s3: Any, key: str) -> dict[str, Any]:
    return s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")  # type: ignore[no-any-return]


@pytest.mark.parametrize("before", ["CRC32C", "CRC32", "SHA256"])
@pytest.mark.parametrize("algorithm", SUMS)
@pytest.mark.parametrize("directive", ["COPY", "REPLACE"])
def test_a_copy_has_the_checksum_that_was_asked_for(
    s3: Any, before: str, algorithm: str, directive: str
) -> None:
    s3.put_object(Bucket=BUCKET, Key="a", Body=BODY, Metadata={"a": "b"}, ChecksumAlgorithm=before)
    where = {"Bucket": BUCKET, "Key": "b", "CopySource": f"{BUCKET}/a"}
    copied = s3.copy_object(**where, ChecksumAlgorithm=algorithm, MetadataDirective=directive)
    assert copied["CopyObjectResult"][f"Checksum{algorithm}"] == SUMS[algorithm]
    shown = head(s3, "b")
    assert (shown[f"Checksum{algorithm}"], shown["ChecksumType"]) == (SUMS[algorithm], "FULL_OBJECT")
    assert [name for name in shown if name.startswith("Checksum")] == [f"Checksum{algorithm}", "ChecksumType"]
    assert shown["ETag"] == head(s3, "a")["ETag"]
    assert shown["Metadata"] == ({"a": "b"} if directive == "COPY" else {})


def test_a_copy_of_parts_has_a_checksum_of_the_whole(s3: Any) -> None:
    """Those of its parts are by another algorithm, and belong to nothing any more."""
    where = {"Bucket": BUCKET, "Key": "parts"}
    upload = s3.create_multipart_upload(**where, ChecksumAlgorithm="CRC32C")["UploadId"]
    bodies = [BODY.ljust(5 * MIB, b"x"), b"y"]
    parts = []
    for number, body in enumerate(bodies, 1):
        part = s3.upload_part(
            **where, UploadId=upload, PartNumber=number, Body=body, ChecksumAlgorithm="CRC32C"
        )
        parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumCRC32C": part["ChecksumCRC32C"]})
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    # Onto itself, which changes nothing but the checksum.
    s3.copy_object(**where, CopySource=f"{BUCKET}/parts", ChecksumAlgorithm="SHA256")
    whole = base64.b64encode(hashlib.sha256(b"".join(bodies)).digest()).decode()
    asked = ["Checksum", "ObjectParts"]
    shown = s3.get_object_attributes(**where, ObjectAttributes=asked)
    assert shown["Checksum"] == {"ChecksumSHA256": whole, "ChecksumType": "FULL_OBJECT"}
    assert [(one["Size"], "ChecksumSHA256" in one) for one in shown["ObjectParts"]["Parts"]] == [
        (5 * MIB, False),
        (1, False),
    ]


def test_a_source_that_changes_while_it_is_read_is_not_copied(tmp_path: Path) -> None:
    """The checksum would be that of other bytes."""

    class Changing(MemoryStore):
        async def open(self, location: str) -> MemoryReading:
            if location == f"{BUCKET}/a":
                await self.write_whole(location, lambda blob, damaged: None, Content(), b"other")
            return await super().open(location)

    with served(make_store=Changing) as front:
        s3 = front.client()
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="a", Body=BODY)
        with pytest.raises(ClientError) as raised:
            s3.copy_object(Bucket=BUCKET, Key="b", CopySource=f"{BUCKET}/a", ChecksumAlgorithm="SHA1")
        assert error_of(raised) == (409, "ConditionalRequestConflict")
        assert f"{BUCKET}/b" not in front.store.blobs
