"""Uploads in parts through boto3, on a store in memory."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.s3.serving import Served
from tests.s3.test_objects import error_of

BUCKET = "parts"
MIB = 1 << 20
WHERE = {"Bucket": BUCKET, "Key": "key"}


@pytest.fixture
def s3(front: Served) -> Any:
    for location in [*front.store.blobs]:
        if location.startswith(("\0s3/upload", "\0s3/part")) or location == f"{BUCKET}/key":
            del front.store.blobs[location]
    return front.client()


def begin(s3: Any, **how: Any) -> str:
    return s3.create_multipart_upload(**WHERE, **how)["UploadId"]  # type: ignore[no-any-return]


def send(s3: Any, upload: str, bodies: list[bytes], **how: Any) -> list[dict[str, Any]]:
    parts = []
    for number, body in enumerate(bodies, 1):
        answer = s3.upload_part(**WHERE, UploadId=upload, PartNumber=number, Body=body, **how)
        sums = {name: value for name, value in answer.items() if name.startswith("Checksum")}
        parts.append({"PartNumber": number, "ETag": answer["ETag"], **sums})
    return parts


def complete(s3: Any, upload: str, parts: list[dict[str, Any]], **how: Any) -> Any:
    return s3.complete_multipart_upload(**WHERE, UploadId=upload, MultipartUpload={"Parts": parts}, **how)


def test_parts_become_an_object_once(s3: Any, front: Served) -> None:
    upload = begin(s3, Metadata={"a": "b"}, ContentType="x/y")
    bodies = [b"a" * 5 * MIB, b"b" * 5 * MIB, b"c" * 7]
    parts = send(s3, upload, bodies)
    with pytest.raises(ClientError) as raised:
        s3.head_object(**WHERE)
    assert error_of(raised)[0] == 404
    listed = s3.list_parts(**WHERE, UploadId=upload)["Parts"]
    assert [(one["PartNumber"], one["Size"]) for one in listed] == [(1, 5 * MIB), (2, 5 * MIB), (3, 7)]
    assert [one["UploadId"] for one in s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]] == [upload]
    first = complete(s3, upload, parts)
    digests = b"".join(bytes.fromhex(part["ETag"][1:33]) for part in parts)
    assert first["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    again = complete(s3, upload, parts)
    assert again["ETag"] == first["ETag"]
    for other in (parts[:1], [parts[0], parts[2]], [{**parts[0], "ETag": "x"}, *parts[1:]]):
        with pytest.raises(ClientError) as raised:  # a success would say that the object is of these parts
            complete(s3, upload, other)
        assert error_of(raised) == (404, "NoSuchUpload")
    answer = s3.get_object(**WHERE)
    assert answer["Body"].read() == b"".join(bodies)
    assert (answer["Metadata"], answer["ContentType"]) == ({"a": "b"}, "x/y")
    second = s3.get_object(**WHERE, PartNumber=2)
    assert (second["Body"].read(), second["PartsCount"]) == (bodies[1], 3)
    shown = s3.get_object_attributes(**WHERE, ObjectAttributes=["ObjectParts"])["ObjectParts"]
    assert (shown["TotalPartsCount"], [one["Size"] for one in shown["Parts"]]) == (3, [5 * MIB, 5 * MIB, 7])
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)
    s3.put_object(**WHERE, Body=b"another")
    with pytest.raises(ClientError) as raised:  # the object that it made is gone, so a success would be wrong
        complete(s3, upload, parts)
    assert error_of(raised) == (404, "NoSuchUpload")


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        ("CRC32", "FULL_OBJECT"),
        ("CRC32C", "FULL_OBJECT"),
        ("CRC64NVME", "FULL_OBJECT"),
        ("CRC32", "COMPOSITE"),
        ("SHA1", "COMPOSITE"),
        ("SHA256", "COMPOSITE"),
    ],
)
def test_checksums(s3: Any, algorithm: str, kind: str) -> None:
    upload = begin(s3, ChecksumAlgorithm=algorithm, ChecksumType=kind)
    bodies = [b"a" * 5 * MIB, b"bc"]
    parts = send(s3, upload, bodies, ChecksumAlgorithm=algorithm)
    done = complete(s3, upload, parts, ChecksumType=kind)
    value = done[f"Checksum{algorithm}"]
    assert value.endswith("-2") == (kind == "COMPOSITE")
    answer = s3.get_object(**WHERE, ChecksumMode="ENABLED")
    assert answer["Body"].read() == b"".join(bodies)  # botocore compares it with that of the full object
    assert (answer[f"Checksum{algorithm}"], answer["ChecksumType"]) == (value, kind)
    if kind == "FULL_OBJECT":
        whole = s3.put_object(Bucket=BUCKET, Key="whole", Body=b"".join(bodies), ChecksumAlgorithm=algorithm)
        assert whole[f"Checksum{algorithm}"] == value
    with pytest.raises(ClientError) as raised:
        s3.create_multipart_upload(**WHERE, ChecksumAlgorithm="SHA1", ChecksumType="FULL_OBJECT")
    assert error_of(raised) == (400, "InvalidRequest")


def test_a_wrong_completion_changes_nothing(s3: Any) -> None:
    upload = begin(s3, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    parts = send(s3, upload, [b"a" * 5 * MIB, b"small", b"last"], ChecksumAlgorithm="CRC32")
    first, small, last = parts
    for wrong, code in (
        ([first, {**last, "ETag": '"' + "0" * 32 + '"'}], "InvalidPart"),
        ([first, {**last, "ChecksumCRC32": "AAAAAA=="}], "InvalidPart"),
        ([first, {**last, "PartNumber": 9}], "InvalidPart"),
        ([last, first], "InvalidPartOrder"),
        ([first, first], "InvalidPartOrder"),
        ([first, small, last], "EntityTooSmall"),
        ([], "MalformedXML"),
    ):
        with pytest.raises(ClientError) as raised:
            complete(s3, upload, wrong)
        assert error_of(raised) == (400, code)
    with pytest.raises(ClientError) as raised:
        complete(s3, upload, [first, last], ChecksumCRC32="AAAAAA==")
    assert error_of(raised) == (400, "BadDigest")
    with pytest.raises(ClientError) as raised:
        complete(s3, upload, [first, last], MpuObjectSize=3)
    assert error_of(raised) == (400, "InvalidRequest")
    with pytest.raises(ClientError) as raised:
        complete(s3, upload, [first, last], IfMatch='"x"')
    assert error_of(raised) == (404, "NoSuchKey")
    complete(s3, upload, [first, last], IfNoneMatch="*")
    assert s3.get_object(**WHERE)["ContentLength"] == 5 * MIB + 4
    # the answer was lost, but the object is still that of this upload
    complete(s3, upload, [first, last], IfNoneMatch="*")


def test_two_completions_of_two_uploads_with_if_none_match(s3: Any) -> None:
    one, two = begin(s3), begin(s3)
    complete(s3, one, send(s3, one, [b"one"]), IfNoneMatch="*")
    parts = send(s3, two, [b"two"])
    with pytest.raises(ClientError) as raised:
        complete(s3, two, parts, IfNoneMatch="*")
    assert error_of(raised) == (412, "PreconditionFailed")
    assert s3.get_object(**WHERE)["Body"].read() == b"one"
    complete(s3, two, parts)
    assert s3.get_object(**WHERE)["Body"].read() == b"two"


def test_a_part_that_is_sent_again_counts(s3: Any) -> None:
    upload = begin(s3)
    old = send(s3, upload, [b"old"])
    new = send(s3, upload, [b"newer"])
    with pytest.raises(ClientError) as raised:
        complete(s3, upload, old)
    assert error_of(raised) == (400, "InvalidPart")
    complete(s3, upload, new)
    assert s3.get_object(**WHERE)["Body"].read() == b"newer"


def test_parts_that_are_copied(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="source", Body=b"0123456789" * MIB)
    upload = begin(s3, ChecksumAlgorithm="SHA256")
    copied = []
    for number, asked in ((1, f"bytes=0-{5 * MIB - 1}"), (2, f"bytes={5 * MIB}-{10 * MIB - 1}")):
        answer = s3.upload_part_copy(
            **WHERE, UploadId=upload, PartNumber=number, CopySource=f"{BUCKET}/source", CopySourceRange=asked
        )
        copied.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
    complete(s3, upload, copied)
    assert s3.get_object(**WHERE)["Body"].read() == b"0123456789" * MIB
    for asked in (f"bytes=0-{10 * MIB}", "bytes=5-4"):
        with pytest.raises(ClientError) as raised:
            s3.upload_part_copy(
                **WHERE,
                UploadId=begin(s3),
                PartNumber=1,
                CopySource=f"{BUCKET}/source",
                CopySourceRange=asked,
            )
        assert error_of(raised) == (416, "InvalidRange")


def test_an_abort_leaves_nothing(s3: Any, front: Served) -> None:
    upload = begin(s3)
    parts = send(s3, upload, [b"x"])
    s3.abort_multipart_upload(**WHERE, UploadId=upload)
    assert not [at for at in front.store.blobs if at.startswith(("\0s3/upload", "\0s3/part"))]
    for again in (
        lambda: s3.abort_multipart_upload(**WHERE, UploadId=upload),
        lambda: s3.list_parts(**WHERE, UploadId=upload),
        lambda: send(s3, upload, [b"x"]),
        lambda: complete(s3, upload, parts),
        lambda: s3.list_parts(Bucket=BUCKET, Key="other", UploadId=begin(s3)),
    ):
        with pytest.raises(ClientError) as raised:
            again()
        assert error_of(raised) == (404, "NoSuchUpload")


def test_lists_of_uploads_and_parts_come_in_pages(s3: Any) -> None:
    keys = ["a/1", "a/2", "b", "c/1", "d"]
    for key in keys:
        s3.create_multipart_upload(Bucket=BUCKET, Key=key)
        s3.create_multipart_upload(Bucket=BUCKET, Key=key)
    found: list[str] = []
    where: dict[str, str] = {}
    while True:
        page = s3.list_multipart_uploads(Bucket=BUCKET, MaxUploads=3, **where)
        found += [one["Key"] for one in page.get("Uploads", [])]
        if not page["IsTruncated"]:
            break
        where = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert found == [key for key in keys for _ in range(2)]
    page = s3.list_multipart_uploads(Bucket=BUCKET, Delimiter="/")
    assert [one["Prefix"] for one in page["CommonPrefixes"]] == ["a/", "c/"]
    assert [one["Key"] for one in page["Uploads"]] == ["b", "b", "d", "d"]
    none = s3.list_multipart_uploads(Bucket=BUCKET, MaxUploads=0)
    assert (none["IsTruncated"], none.get("Uploads", [])) == (False, [])  # else a pager never ends
    upload = begin(s3)
    send(s3, upload, [b"x"] * 5)
    first = s3.list_parts(**WHERE, UploadId=upload, MaxParts=3)
    rest = s3.list_parts(**WHERE, UploadId=upload, PartNumberMarker=first["NextPartNumberMarker"])
    assert [one["PartNumber"] for one in [*first["Parts"], *rest["Parts"]]] == [1, 2, 3, 4, 5]
    assert (first["IsTruncated"], rest["IsTruncated"]) == (True, False)
    assert not s3.list_parts(**WHERE, UploadId=upload, MaxParts=0)["IsTruncated"]


@pytest.mark.parametrize("algorithm", [None, "CRC32C"])
def test_a_checksum_that_cannot_be_compared_is_refused(s3: Any, front: Served, algorithm: str | None) -> None:
    """It was not looked at, and its client believed that it was."""
    how = {} if algorithm is None else {"ChecksumAlgorithm": algorithm}
    upload = begin(s3, **how)
    parts = send(s3, upload, [b"a"], **how)
    for wrong in ({"ChecksumSHA1": f"{'A' * 27}="}, {"ChecksumCRC32": "AAAAAA=="}):
        with pytest.raises(ClientError) as raised:
            complete(s3, upload, parts, **wrong)
        assert error_of(raised) == (400, "InvalidRequest")
        with pytest.raises(ClientError) as raised:
            complete(s3, upload, [{**parts[0], **wrong}])
        assert error_of(raised) == (400, "InvalidPart")
    assert f"{BUCKET}/key" not in front.store.blobs
    complete(s3, upload, parts)
