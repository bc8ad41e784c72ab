"""Objects through boto3, on a store in memory: what is written is read back, and wrong requests are
refused.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import io
import zlib
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from botocore.exceptions import ClientError

from services.frontends.s3.names import BUCKET_RECORD
from services.store import Content
from tests.s3.serving import SECRET, Served, served
from tests.s3.signing import signed_by_botocore

CONNECTIONS = ("blobkeep", "tornado")
BUCKET = "photos"


@pytest.fixture(scope="module", params=CONNECTIONS)
def front(request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(connection=request.param) as made:
        made.client().create_bucket(Bucket=BUCKET)
        yield made


@pytest.fixture
def s3(front: Served) -> Any:
    return front.client()


def error_of(raised: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    answer = raised.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def body_of(s3: Any, key: str, **how: Any) -> bytes:
    return s3.get_object(Bucket=BUCKET, Key=key, **how)["Body"].read()  # type: ignore[no-any-return]


def send(
    front: Served, method: str, target: str, body: bytes, fields: dict[str, str]
) -> tuple[int, bytes, str | None]:
    """Status, body and type of the answer to a request that is sent as it is."""
    with closing(http.client.HTTPConnection("127.0.0.1", front.port, timeout=120)) as connection:
        connection.putrequest(method, target, skip_host="host" in fields, skip_accept_encoding=True)
        for name, value in {"content-length": str(len(body)), **fields}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers["Content-Type"]


def ask(front: Served, method: str, target: str, body: bytes = b"", **fields: str) -> tuple[int, str]:
    """Status and text of the answer to a request that is signed in its header. Its target is sent as it
    is.
    """
    asked = signed_by_botocore(
        method,
        f"http://127.0.0.1:{front.port}{target}",
        "alice",
        SECRET,
        headers={name.replace("_", "-"): value for name, value in fields.items()},
        body=body,
    )
    status, said, _ = send(front, method, target, body, {n: v[0] for n, v in asked.headers.items()})
    return status, said.decode()


@pytest.mark.parametrize("key", ["a", "a//b", "../x/./y", "dir/", "/lead", "ü/日本", "a b+c%d", "x" * 1024])
def test_a_key_is_kept_as_it_is(s3: Any, front: Served, key: str) -> None:
    tag = s3.put_object(Bucket=BUCKET, Key=key, Body=b"hello")["ETag"]
    assert tag == f'"{hashlib.md5(b"hello").hexdigest()}"'
    assert body_of(s3, key) == b"hello"
    assert f"{BUCKET}/{key}" in front.store.blobs
    assert key in [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    s3.delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(ClientError) as raised:
        body_of(s3, key)
    assert error_of(raised) == (404, "NoSuchKey")
    s3.delete_object(Bucket=BUCKET, Key=key)  # this succeeds, too


def test_what_is_said_of_an_object_is_given_back(s3: Any, front: Served) -> None:
    said = {
        "ContentType": "text/plain; charset=utf-8",
        "CacheControl": "max-age=3",
        "ContentDisposition": 'attachment; filename="a"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "de",
        "Metadata": {"one": "1", "two-three": "x  y"},
    }
    s3.put_object(Bucket=BUCKET, Key="said", Body=b"x", Expires="Thu, 01 Dec 2033 16:00:00 GMT", **said)
    for answer in (s3.get_object(Bucket=BUCKET, Key="said"), s3.head_object(Bucket=BUCKET, Key="said")):
        assert {name: answer[name] for name in said} == said
        assert answer["ExpiresString"] == "Thu, 01 Dec 2033 16:00:00 GMT"
    blob = front.store.blobs[f"{BUCKET}/said"][0]
    assert blob.metadata["x-meta-two-three"] == "x  y"  # as in the native front end
    with pytest.raises(ClientError) as raised:
        s3.put_object(Bucket=BUCKET, Key="much", Body=b"", Metadata={"a": "x" * 2048})
    assert error_of(raised) == (400, "MetadataTooLarge")


def test_the_length_decides_what_the_tag_is(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.frontends.s3.body.MD5_UP_TO_BYTES", 10)
    body = b"longer than ten"
    tag = s3.put_object(Bucket=BUCKET, Key="long", Body=body)["ETag"].strip('"')
    assert tag == hashlib.sha256(body).hexdigest()[:32] + "-1"
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    tag = s3.put_object(Bucket=BUCKET, Key="long", Body=body, ContentMD5=md5)["ETag"].strip('"')
    assert tag == hashlib.md5(body).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 65536, 300_000])
@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums(s3: Any, algorithm: str, size: int) -> None:
    body = b"q" * size
    put = s3.put_object(Bucket=BUCKET, Key="sum", Body=body, ChecksumAlgorithm=algorithm)
    value = put[f"Checksum{algorithm}"]
    assert body_of(s3, "sum", ChecksumMode="ENABLED") == body  # botocore compares it
    head = s3.head_object(Bucket=BUCKET, Key="sum", ChecksumMode="ENABLED")
    assert (head[f"Checksum{algorithm}"], head["ChecksumType"]) == (value, "FULL_OBJECT")
    assert f"Checksum{algorithm}" not in s3.head_object(Bucket=BUCKET, Key="sum")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"content_md5": base64.b64encode(bytes(16)).decode()}, "BadDigest"),
        ({"content_md5": "no"}, "InvalidDigest"),
        ({"x_amz_checksum_crc32": "AAAAAA=="}, "BadDigest"),
        ({"x_amz_checksum_crc32": "A"}, "BadDigest"),
        ({"x_amz_checksum_sha256": base64.b64encode(bytes(32)).decode()}, "BadDigest"),
        ({"x_amz_checksum_md4": "AAAA", "x_amz_trailer": "x-amz-checksum-md4"}, "InvalidRequest"),
        ({"x_amz_checksum_md4": "AAAA"}, "InvalidRequest"),
        ({"x_amz_expected_bucket_owner": "123456789012"}, "AccessDenied"),
        ({"x_amz_object_lock_mode": "GOVERNANCE"}, "NotImplemented"),
        ({"x_amz_object_lock_retain_until_date": "2033-01-01T00:00:00Z"}, "NotImplemented"),
        ({"x_amz_object_lock_legal_hold": "ON"}, "NotImplemented"),
        ({"x_amz_server_side_encryption": "AES256"}, "NotImplemented"),
        ({"x_amz_server_side_encryption_customer_algorithm": "AES256"}, "NotImplemented"),
        ({"x_amz_tagging": "a=b"}, "NotImplemented"),
        ({"x_amz_acl": "public-read"}, "NotImplemented"),
        ({"x_amz_grant_read": "id=1"}, "NotImplemented"),
        ({"x_amz_storage_class": "GLACIER"}, "InvalidStorageClass"),
        ({"x_amz_website_redirect_location": "/x"}, "NotImplemented"),
        ({"content_encoding": "a b"}, "InvalidArgument"),
    ],
)
def test_a_put_that_is_refused_leaves_nothing(front: Served, fields: dict[str, str], code: str) -> None:
    status, said = ask(front, "PUT", f"/{BUCKET}/refused", b"body", **fields)
    assert f"<Code>{code}</Code>" in said
    assert status >= 400
    assert f"{BUCKET}/refused" not in front.store.blobs


def test_a_body_that_was_changed_on_the_way_is_refused(front: Served) -> None:
    asked = signed_by_botocore(
        "PUT",
        f"http://127.0.0.1:{front.port}/{BUCKET}/changed",
        "alice",
        SECRET,
        headers={"x-amz-content-sha256": hashlib.sha256(b"body").hexdigest()},
        body=b"body",
    )
    sent = {name: values[0] for name, values in asked.headers.items()}
    status, said, _ = send(front, "PUT", f"/{BUCKET}/changed", b"bodY", sent)
    assert (status, b"XAmzContentSHA256Mismatch" in said) == (400, True)
    assert f"{BUCKET}/changed" not in front.store.blobs


@pytest.mark.parametrize(
    "target",
    [
        f"/{BUCKET}/k?tagging",
        f"/{BUCKET}/k?retention",
        f"/{BUCKET}/k?legal-hold",
        f"/{BUCKET}/k?torrent",
        f"/{BUCKET}?versioning",
        f"/{BUCKET}?policy",
        f"/{BUCKET}?lifecycle",
        f"/{BUCKET}?object-lock",
        f"/{BUCKET}?what",
        "/",
    ],
)
def test_what_is_not_there_is_501(front: Served, target: str) -> None:
    status, said = ask(front, "PUT", target, b"<x/>")
    assert (status, "<Code>NotImplemented</Code>" in said) == (501, True)


def test_ranges(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="range", Body=b"0123456789")
    for asked, found in (
        ("bytes=2-4", b"234"),
        ("bytes=7-", b"789"),
        ("bytes=-3", b"789"),
        ("bytes=8-99", b"89"),
    ):
        answer = s3.get_object(Bucket=BUCKET, Key="range", Range=asked)
        assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Body"].read()) == (206, found)
    assert s3.get_object(Bucket=BUCKET, Key="range", Range="bytes=2-4")["ContentRange"] == "bytes 2-4/10"
    with pytest.raises(ClientError) as raised:
        s3.get_object(Bucket=BUCKET, Key="range", Range="bytes=10-12")
    assert error_of(raised) == (416, "InvalidRange")
    assert body_of(s3, "range", Range="lines=1-2") == b"0123456789"


def test_conditions_of_reads(s3: Any) -> None:
    tag = s3.put_object(Bucket=BUCKET, Key="read", Body=b"x")["ETag"]
    assert body_of(s3, "read", IfMatch=tag) == b"x"
    assert body_of(s3, "read", IfMatch=tag.strip('"')) == b"x"
    assert body_of(s3, "read", IfNoneMatch='"other"') == b"x"
    with pytest.raises(ClientError) as raised:
        body_of(s3, "read", IfMatch='"other"')
    assert error_of(raised) == (412, "PreconditionFailed")
    with pytest.raises(ClientError) as raised:
        body_of(s3, "read", IfNoneMatch=tag)
    assert error_of(raised)[0] == 304


def test_conditions_of_writes(s3: Any) -> None:
    tag = s3.put_object(Bucket=BUCKET, Key="cas", Body=b"1", IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError) as raised:
        s3.put_object(Bucket=BUCKET, Key="cas", Body=b"2", IfNoneMatch="*")
    assert error_of(raised) == (412, "PreconditionFailed")
    second = s3.put_object(Bucket=BUCKET, Key="cas", Body=b"2", IfMatch=tag)["ETag"]
    with pytest.raises(ClientError) as raised:
        s3.put_object(Bucket=BUCKET, Key="cas", Body=b"3", IfMatch=tag)
    assert error_of(raised) == (412, "PreconditionFailed")
    with pytest.raises(ClientError) as raised:
        s3.delete_object(Bucket=BUCKET, Key="cas", IfMatch=tag)
    assert error_of(raised) == (412, "PreconditionFailed")
    assert body_of(s3, "cas") == b"2"
    s3.delete_object(Bucket=BUCKET, Key="cas", IfMatch=second)
    with pytest.raises(ClientError) as raised:
        s3.put_object(Bucket=BUCKET, Key="cas", Body=b"4", IfMatch=second)
    assert error_of(raised) == (404, "NoSuchKey")


def test_a_copy(s3: Any) -> None:
    source = f"{BUCKET}/from ä+b"
    s3.put_object(Bucket=BUCKET, Key="from ä+b", Body=b"copied", Metadata={"a": "1"}, ContentType="text/css")
    tag = s3.copy_object(Bucket=BUCKET, Key="to", CopySource=source)["CopyObjectResult"]["ETag"]
    answer = s3.get_object(Bucket=BUCKET, Key="to")
    assert (answer["Body"].read(), answer["Metadata"], answer["ContentType"]) == (
        b"copied",
        {"a": "1"},
        "text/css",
    )
    how = {"MetadataDirective": "REPLACE", "Metadata": {"b": "2"}, "ContentType": "text/html"}
    assert s3.copy_object(Bucket=BUCKET, Key="to", CopySource=f"{BUCKET}/to", **how)
    answer = s3.get_object(Bucket=BUCKET, Key="to")
    assert (answer["Body"].read(), answer["Metadata"], answer["ETag"]) == (b"copied", {"b": "2"}, tag)
    with pytest.raises(ClientError) as raised:
        s3.copy_object(Bucket=BUCKET, Key="to", CopySource=f"{BUCKET}/to")
    assert error_of(raised) == (400, "InvalidRequest")
    with pytest.raises(ClientError) as raised:
        s3.copy_object(Bucket=BUCKET, Key="to", CopySource=f"{BUCKET}/nowhere")
    assert error_of(raised) == (404, "NoSuchKey")
    with pytest.raises(ClientError) as raised:
        s3.copy_object(Bucket=BUCKET, Key="to", CopySource="nobucket/k")
    assert error_of(raised) == (404, "NoSuchBucket")
    with pytest.raises(ClientError) as raised:
        s3.copy_object(Bucket=BUCKET, Key="x", CopySource=source, CopySourceIfMatch='"other"')
    assert error_of(raised) == (412, "PreconditionFailed")


def test_many_are_deleted_at_once(s3: Any) -> None:
    keys = [f"many/{number}" for number in range(40)]
    for key in keys:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"")
    wanted = [{"Key": key} for key in [*keys, "many/none"]]
    wanted[0]["VersionId"] = "null"
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": wanted})
    assert sorted(one["Key"] for one in answer["Deleted"]) == sorted([*keys, "many/none"])
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="many/")["KeyCount"] == 0
    bad = s3.delete_objects(
        Bucket=BUCKET, Delete={"Objects": [{"Key": "k", "VersionId": "v1"}], "Quiet": True}
    )
    assert [one["Code"] for one in bad["Errors"]] == ["NoSuchVersion"]


def test_attributes(s3: Any) -> None:
    put = s3.put_object(Bucket=BUCKET, Key="attributes", Body=b"abc", ChecksumAlgorithm="SHA1")
    asked = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    answer = s3.get_object_attributes(Bucket=BUCKET, Key="attributes", ObjectAttributes=asked)
    assert (answer["ETag"], answer["ObjectSize"]) == (put["ETag"].strip('"'), 3)
    assert answer["Checksum"] == {"ChecksumSHA1": put["ChecksumSHA1"], "ChecksumType": "FULL_OBJECT"}
    assert "ObjectParts" not in answer


def test_a_large_body_in_a_stream(s3: Any) -> None:
    body = bytes(range(256)) * 8192
    s3.upload_fileobj(io.BytesIO(body), BUCKET, "stream")
    assert body_of(s3, "stream") == body
    assert zlib.crc32(body_of(s3, "stream", Range="bytes=1000000-1999999")) == zlib.crc32(
        body[1000000:2000000]
    )


def test_damage_is_500_and_a_full_store_507(front: Served, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="rotten", Body=b"x")
    front.store.damaged.add(f"{BUCKET}/rotten")
    with pytest.raises(ClientError) as raised:
        body_of(s3, "rotten")
    assert error_of(raised) == (500, "InternalError")
    s3.put_object(Bucket=BUCKET, Key="rotten", Body=b"y")
    assert body_of(s3, "rotten") == b"y"
    front.store.room_bytes = 10
    try:
        with pytest.raises(ClientError) as raised:
            s3.put_object(Bucket=BUCKET, Key="full", Body=b"x" * 11)
        assert error_of(raised) == (507, "InsufficientStorage")
    finally:
        front.store.room_bytes = 1 << 40


def test_a_link_that_was_presigned(front: Served) -> None:
    s3 = front.client(signature_version="s3v4")
    where = {"Bucket": BUCKET, "Key": "link"}
    put = s3.generate_presigned_url("put_object", where, ExpiresIn=60)
    get = s3.generate_presigned_url("get_object", {**where, "ResponseContentType": "text/x-y"}, ExpiresIn=60)

    def follow(method: str, url: str, body: bytes = b"") -> tuple[int, bytes, str | None]:
        return send(front, method, url.partition(str(front.port))[2], body, {})

    assert follow("PUT", put, b"by link")[0] == 200
    assert follow("GET", get) == (200, b"by link", "text/x-y")
    assert follow("DELETE", get)[0] == 403
    assert follow("GET", get.replace("link", "lonk"))[0] == 403
    old = front.client(signature_version="s3").generate_presigned_url("get_object", where, ExpiresIn=60)
    status, body, _ = follow("GET", old)
    assert (status, "s3v4" in body.decode()) == (403, True)


def test_what_was_written_natively_is_an_object(front: Served, s3: Any) -> None:
    blob = front.store.blobs.pop(f"{BUCKET}/native", None)
    assert blob is None
    s3.put_object(Bucket=BUCKET, Key="seed", Body=b"native bytes")
    body = front.store.blobs[f"{BUCKET}/seed"]
    native = type(body[0]).make(
        location="nobody-made-this-bucket/a/b.txt",
        id=70_000,
        seq=70_000,
        size=12,
        sha256=body[0].sha256,
        crcs=body[0].crcs,
        type="text/plain",
        encoding="",
        modified_ns=1_700_000_000_000_000_000,
    )
    front.store.blobs[native.location] = (native, b"native bytes")
    answer = s3.get_object(Bucket="nobody-made-this-bucket", Key="a/b.txt")
    assert answer["Body"].read() == b"native bytes"
    assert answer["ETag"] == f'"{body[0].sha256.hex()[:32]}-1"'
    assert "nobody-made-this-bucket" in [one["Name"] for one in s3.list_buckets()["Buckets"]]
    s3.delete_object(Bucket="nobody-made-this-bucket", Key="a/b.txt")
    with pytest.raises(ClientError) as raised:
        s3.head_bucket(Bucket="nobody-made-this-bucket")
    assert error_of(raised)[0] == 404
    assert BUCKET_RECORD + BUCKET in front.store.blobs


@pytest.mark.parametrize(
    "kept",
    [
        {".s3-etag": "x\r\nX-Forged: 1"},
        {".s3-etag": "\u2028"},
        {".s3-parts": "1x99999999999"},
        {".s3-parts": "-5,11"},
        {".s3-parts": "5;\r\nx"},
        {".s3-checksum-crc32": "a\r\nX-Forged: 1"},
        {".s3-checksum-x\r\ny": "1"},
    ],
    ids=str,
)
def test_what_a_record_made_by_hand_says_is_not_believed(
    front: Served, s3: Any, kept: dict[str, str]
) -> None:
    """A foreign backup may contain any record. Its bytes are served if their checksum is right."""
    put_by_hand(front, "hostile", kept)
    at = {"Bucket": BUCKET, "Key": "hostile"}
    for asked in ({}, {"PartNumber": 1}, {"ChecksumMode": "ENABLED"}):
        found = s3.get_object(**at, **asked)
        assert found["Body"].read() == b"a body"
        assert "x-forged" not in found["ResponseMetadata"]["HTTPHeaders"]
    attributes = s3.get_object_attributes(**at, ObjectAttributes=["ETag", "Checksum", "ObjectParts"])
    assert attributes["ETag"] == found["ETag"].strip('"')
    assert not {"Checksum", "ObjectParts"} & set(attributes)
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="hostile")["Contents"][0]["ETag"] == found["ETag"]


def put_by_hand(front: Served, key: str, kept: dict[str, str]) -> None:
    said = Content(metadata=kept)
    asyncio.run(front.store.write_whole(f"{BUCKET}/{key}", lambda blob, damaged: None, said, b"a body"))
