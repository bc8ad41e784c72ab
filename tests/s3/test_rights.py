"""Who may do what over S3: roles and prefixes hold for every operation, and nothing works without a key."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from services.frontends.s3.handler import OPERATIONS
from tests.s3.serving import Served, served
from tests.s3.test_objects import error_of, send

IN, OUT = "2024/a", "2023/a"

Ask = Callable[[Any, str], Any]

# Each operation on a key: (what it does to the object, how it is called).
ON_KEYS: dict[str, tuple[str, Ask]] = {
    "GetObject": ("read", lambda s3, key: s3.get_object(Bucket="photos", Key=key)),
    "HeadObject": ("read", lambda s3, key: s3.head_object(Bucket="photos", Key=key)),
    "GetObjectAttributes": (
        "read",
        lambda s3, key: s3.get_object_attributes(Bucket="photos", Key=key, ObjectAttributes=["ETag"]),
    ),
    "GetAcl": ("read", lambda s3, key: s3.get_object_acl(Bucket="photos", Key=key)),
    "NoConfiguration": ("read", lambda s3, key: s3.get_object_tagging(Bucket="photos", Key=key)),
    "ListObjects": ("read", lambda s3, key: s3.list_objects_v2(Bucket="photos", Prefix=key)),
    "ListObjectVersions": ("read", lambda s3, key: s3.list_object_versions(Bucket="photos", Prefix=key)),
    "ListMultipartUploads": ("read", lambda s3, key: s3.list_multipart_uploads(Bucket="photos", Prefix=key)),
    "PutObject": ("replace", lambda s3, key: s3.put_object(Bucket="photos", Key=key, Body=b"")),
    "CopyObject": (
        "replace",
        lambda s3, key: s3.copy_object(
            Bucket="photos", Key=key, CopySource=f"photos/{key}", MetadataDirective="REPLACE"
        ),
    ),
    "CreateMultipartUpload": (
        "replace",
        lambda s3, key: s3.create_multipart_upload(Bucket="photos", Key=key),
    ),
    "UploadPart": (
        "upload",
        lambda s3, key: s3.upload_part(Bucket="photos", Key=key, UploadId="u", PartNumber=1, Body=b""),
    ),
    "UploadPartCopy": (
        "upload",
        lambda s3, key: s3.upload_part_copy(
            Bucket="photos", Key=key, UploadId="u", PartNumber=1, CopySource=f"photos/{key}"
        ),
    ),
    "CompleteMultipartUpload": (
        "upload",
        lambda s3, key: s3.complete_multipart_upload(
            Bucket="photos",
            Key=key,
            UploadId="u",
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": "x"}]},
        ),
    ),
    "AbortMultipartUpload": (
        "upload",
        lambda s3, key: s3.abort_multipart_upload(Bucket="photos", Key=key, UploadId="u"),
    ),
    "ListParts": ("read upload", lambda s3, key: s3.list_parts(Bucket="photos", Key=key, UploadId="u")),
    "DeleteObject": ("delete", lambda s3, key: s3.delete_object(Bucket="photos", Key=key)),
    "DeleteObjects": (
        "delete",
        lambda s3, key: _deleted(s3.delete_objects(Bucket="photos", Delete={"Objects": [{"Key": key}]})),
    ),
    "PutAcl": ("delete", lambda s3, key: s3.put_object_acl(Bucket="photos", Key=key, ACL="private")),
}
ON_BUCKETS = {"ListBuckets", "CreateBucket", "HeadBucket", "DeleteBucket", "GetBucketLocation"}
ON_BUCKETS |= {"DefaultConfiguration"}


def _deleted(answer: Any) -> None:
    for one in answer.get("Errors", []):
        raise ClientError({"Error": one, "ResponseMetadata": {"HTTPStatusCode": 403}}, "DeleteObjects")


@pytest.fixture(autouse=True)
def objects(front: Served) -> None:
    front.store.blobs.clear()
    s3 = front.client()
    s3.create_bucket(Bucket="photos")
    for key in (IN, OUT):
        s3.put_object(Bucket="photos", Key=key, Body=b"there")


def denied(ask: Callable[[], Any]) -> bool:
    """True if the request of `ask` is refused for lack of rights, and for no other reason."""
    try:
        ask()
    except ClientError as err:
        status = err.response["ResponseMetadata"]["HTTPStatusCode"]
        code = err.response["Error"]["Code"]
        if status == 403:
            return True
        assert code == "NoSuchUpload", code
    return False


def test_the_table_has_every_operation() -> None:
    assert set(ON_KEYS) | ON_BUCKETS == set(OPERATIONS)


@pytest.mark.parametrize("operation", ON_KEYS)
@pytest.mark.parametrize("name", ["alice", "reader", "adder", "photos"])
def test_roles_and_prefixes_hold(front: Served, name: str, operation: str) -> None:
    what, ask = ON_KEYS[operation]
    forbidden = {
        "alice": set(),
        "reader": {"replace", "upload", "delete"},
        "adder": {"replace", "delete"},
        "photos": set(),
    }[name]
    s3 = front.client(name)
    assert denied(lambda: ask(s3, IN)) == (what in forbidden)
    assert denied(lambda: ask(s3, OUT)) == (what in forbidden or name == "photos")
    if what in forbidden or name == "photos":
        assert front.store.blobs[f"photos/{OUT}"][1] == b"there"


def test_one_who_may_only_add_adds(front: Served) -> None:
    s3 = front.client("adder")
    s3.put_object(Bucket="photos", Key="new", Body=b"1")
    with pytest.raises(ClientError) as raised:
        s3.put_object(Bucket="photos", Key="new", Body=b"2")
    assert error_of(raised) == (403, "AccessDenied")
    upload = s3.create_multipart_upload(Bucket="photos", Key="part")["UploadId"]
    tag = s3.upload_part(Bucket="photos", Key="part", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    front.client().put_object(Bucket="photos", Key="part", Body=b"meanwhile")
    with pytest.raises(ClientError) as raised:
        s3.complete_multipart_upload(
            Bucket="photos",
            Key="part",
            UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]},
        )
    assert error_of(raised) == (403, "AccessDenied")
    assert front.store.blobs["photos/part"][1] == b"meanwhile"


def test_the_source_of_a_copy_is_read(front: Served) -> None:
    with pytest.raises(ClientError) as raised:
        front.client("photos").copy_object(Bucket="photos", Key=IN, CopySource=f"photos/{OUT}")
    assert error_of(raised) == (403, "AccessDenied")


def test_buckets_of_one_with_a_prefix(front: Served) -> None:
    front.client().create_bucket(Bucket="secret")
    s3 = front.client("photos")
    assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == ["photos"]
    s3.head_bucket(Bucket="photos")
    for ask in (
        lambda: s3.head_bucket(Bucket="secret"),
        lambda: s3.get_bucket_location(Bucket="secret"),
        lambda: s3.get_bucket_versioning(Bucket="secret"),
        lambda: s3.list_objects_v2(Bucket="photos"),
        lambda: s3.list_objects_v2(Bucket="photos", Prefix="2023/"),
        lambda: s3.create_bucket(Bucket="another"),
        lambda: s3.delete_bucket(Bucket="photos"),
        lambda: s3.delete_bucket(Bucket="secret"),
    ):
        assert denied(ask)
    assert denied(lambda: front.client("reader").delete_bucket(Bucket="secret"))
    assert denied(lambda: front.client("adder").delete_bucket(Bucket="secret"))
    assert denied(lambda: front.client("reader").create_bucket(Bucket="another"))


@pytest.mark.parametrize(
    ("who", "code"),
    [
        ({"name": "mallory"}, "InvalidAccessKeyId"),
        ({"secret": "x" * 40}, "SignatureDoesNotMatch"),
        ({"signature_version": UNSIGNED}, "AccessDenied"),
    ],
)
def test_nobody_else_gets_in(front: Served, who: dict[str, Any], code: str) -> None:
    s3 = front.client(**who)
    with pytest.raises(ClientError) as raised:
        s3.list_objects_v2(Bucket="photos")
    assert error_of(raised)[1] == code


def test_another_region_is_corrected(front: Served) -> None:
    s3 = front.client(region="eu-west-1")
    # boto3 tries again with the region from the answer
    assert s3.list_objects_v2(Bucket="photos")["KeyCount"] == 2


def test_where_everyone_may_do_everything_a_signature_is_not_looked_at() -> None:
    with served(is_open=True) as front:
        s3 = front.client("whoever", secret="whatever-it-is-called")
        s3.create_bucket(Bucket="open")
        s3.put_object(Bucket="open", Key="k", Body=b"x" * 300_000, ChecksumAlgorithm="SHA256")
        status, body, _ = send(front, "GET", "/open/k", b"", {})
        assert (status, len(body)) == (200, 300_000)


def test_what_is_public_may_be_read_by_everybody() -> None:
    with served(public="site/,more/x") as front:
        s3 = front.client()
        for bucket in ("site", "more"):
            s3.create_bucket(Bucket=bucket)
            for key in ("x", "y"):
                acl = "public-read" if (bucket, key) != ("more", "y") else "private"
                s3.put_object(Bucket=bucket, Key=key, Body=b"public?", ACL=acl)
        anybody = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{front.port}",
            region_name="us-east-1",
            config=Config(signature_version=UNSIGNED, s3={"addressing_style": "path"}),
        )
        assert anybody.get_object(Bucket="site", Key="x")["Body"].read() == b"public?"
        assert anybody.list_objects_v2(Bucket="site")["KeyCount"] == 2
        assert anybody.get_object(Bucket="more", Key="x")["Body"].read() == b"public?"
        for ask in (
            lambda: anybody.get_object(Bucket="more", Key="y"),
            lambda: anybody.list_objects_v2(Bucket="more"),
            lambda: anybody.put_object(Bucket="site", Key="x", Body=b""),
            lambda: anybody.delete_object(Bucket="site", Key="x"),
        ):
            assert denied(ask)
        assert [one["Name"] for one in anybody.list_buckets()["Buckets"]] == ["more", "site"]
        with pytest.raises(ClientError) as raised:
            s3.put_object(Bucket="more", Key="z", Body=b"", ACL="public-read")
        assert error_of(raised) == (501, "NotImplemented")


def test_a_page_of_a_named_origin_may_use_s3() -> None:
    with served(cors_origins="https://app.example.org") as made:
        connection = http.client.HTTPConnection("127.0.0.1", made.port, timeout=120)
        asked = {
            "Origin": "https://app.example.org",
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "authorization,x-amz-date",
        }
        connection.request("OPTIONS", "/photos/a", headers=asked)
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, asked["Origin"])
        connection.request("GET", "/photos/a", headers={"Origin": asked["Origin"]})
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (403, asked["Origin"])
        connection.request("OPTIONS", "/photos/a", headers={**asked, "Origin": "https://evil.example"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status >= 400
        assert "access-control-allow-origin" not in answer.headers
        connection.close()
