"""Buckets and listings through boto3, on a store in memory."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.s3.serving import Served
from tests.s3.test_objects import error_of


@pytest.fixture
def s3(front: Served) -> Any:
    front.store.blobs.clear()
    return front.client()


def test_the_life_of_a_bucket(s3: Any) -> None:
    with pytest.raises(ClientError) as raised:
        s3.list_objects_v2(Bucket="new")
    assert error_of(raised) == (404, "NoSuchBucket")
    with pytest.raises(ClientError) as raised:
        s3.put_object(Bucket="new", Key="k", Body=b"")
    assert error_of(raised) == (404, "NoSuchBucket")
    s3.create_bucket(Bucket="new")
    s3.create_bucket(Bucket="new")  # one's own
    s3.head_bucket(Bucket="new")
    assert s3.get_bucket_location(Bucket="new")["LocationConstraint"] is None
    assert s3.get_bucket_versioning(Bucket="new").get("Status") is None
    assert s3.get_bucket_acl(Bucket="new")["Grants"][0]["Permission"] == "FULL_CONTROL"
    for ask, code in (
        (s3.get_bucket_policy, "NoSuchBucketPolicy"),
        (s3.get_bucket_cors, "NoSuchCORSConfiguration"),
        (s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
    ):
        with pytest.raises(ClientError) as raised:
            ask(Bucket="new")
        assert error_of(raised) == (404, code)
    s3.put_object(Bucket="new", Key="k", Body=b"")
    with pytest.raises(ClientError) as raised:
        s3.delete_bucket(Bucket="new")
    assert error_of(raised) == (409, "BucketNotEmpty")
    s3.delete_object(Bucket="new", Key="k")
    s3.create_multipart_upload(Bucket="new", Key="m")
    s3.delete_bucket(Bucket="new")
    with pytest.raises(ClientError) as raised:
        s3.delete_bucket(Bucket="new")
    assert error_of(raised) == (404, "NoSuchBucket")


@pytest.mark.parametrize("name", ["ab", "A-b-c", "a..b", "192.168.5.4", "a_b"])
def test_a_bad_name_is_refused(front: Served, name: str) -> None:
    client = front.client()
    client.meta.events.unregister("before-parameter-build.s3", None)
    from botocore.handlers import validate_bucket_name

    client.meta.events.unregister("before-parameter-build.s3", validate_bucket_name)
    with pytest.raises(ClientError) as raised:
        client.create_bucket(Bucket=name)
    assert error_of(raised) == (400, "InvalidBucketName")


def test_buckets_come_in_pages(s3: Any, front: Served) -> None:
    names = [f"b-{number}" for number in range(5)]
    for name in names[:3]:
        s3.create_bucket(Bucket=name)
    s3.create_bucket(Bucket="other")
    s3.put_object(Bucket="other", Key="k", Body=b"")
    blob, body = front.store.blobs["other/k"]
    for name in names[3:]:  # by native writes
        front.store.blobs[f"{name}/k"] = (type(blob)(f"{name}/k", *_rest(blob)), body)
    front.store.blobs["top-level.txt"] = (type(blob)("top-level.txt", *_rest(blob)), body)
    assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == [*names, "other"]
    found: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = s3.list_buckets(MaxBuckets=2, Prefix="b-", **token)
        found += [one["Name"] for one in page["Buckets"]]
        assert len(page["Buckets"]) <= 2
        if "ContinuationToken" not in page:
            break
        token = {"ContinuationToken": page["ContinuationToken"]}
    assert found == names


def _rest(blob: Any) -> tuple[Any, ...]:
    return blob.id, blob.size, blob.type, blob.encoding, blob.packed


KEYS = st.lists(st.text("ab/%-", min_size=1, max_size=5), unique=True, max_size=12)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=KEYS,
    prefix=st.text("ab/", max_size=2),
    delimiter=st.sampled_from(["", "/", "b", "-", "a/"]),
    limit=st.integers(1, 4),
    version=st.sampled_from([1, 2]),
)
def test_pages_show_everything_once(
    front: Served, s3: Any, keys: list[str], prefix: str, delimiter: str, limit: int, version: int
) -> None:
    """All pages together are what a simple search of all keys gives."""
    front.store.blobs.clear()
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="x", Body=b"")
    blob, body = front.store.blobs.pop("bucket/x")
    for key in keys:
        front.store.blobs[f"bucket/{key}"] = (type(blob)(f"bucket/{key}", *_rest(blob)), body)
    wanted: set[tuple[str, str]] = set()
    for key in keys:
        if key.startswith(prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            wanted.add(("key", key) if cut < 0 else ("prefix", key[: cut + len(delimiter)]))
    found: list[tuple[str, str]] = []
    where: dict[str, str] = {}
    for _ in range(100):
        ask = s3.list_objects if version == 1 else s3.list_objects_v2
        page = ask(Bucket="bucket", Prefix=prefix, Delimiter=delimiter, MaxKeys=limit, **where)
        some = [("key", one["Key"]) for one in page.get("Contents", [])]
        some += [("prefix", one["Prefix"]) for one in page.get("CommonPrefixes", [])]
        assert len(some) <= limit
        found += some
        if not page["IsTruncated"]:
            break
        if version == 2:
            where = {"ContinuationToken": page["NextContinuationToken"]}
        else:
            where = {"Marker": page.get("NextMarker") or page["Contents"][-1]["Key"]}
    assert sorted(found) == sorted(wanted)


def test_start_after_and_owner(s3: Any) -> None:
    s3.create_bucket(Bucket="bucket")
    for key in "abc":
        s3.put_object(Bucket="bucket", Key=key, Body=b"")
    page = s3.list_objects_v2(Bucket="bucket", StartAfter="a", FetchOwner=True)
    assert [one["Key"] for one in page["Contents"]] == ["b", "c"]
    assert page["Contents"][0]["Owner"]["ID"] == "blobkeep"
    versions = s3.list_object_versions(Bucket="bucket")["Versions"]
    assert [(one["Key"], one["VersionId"]) for one in versions] == [
        ("a", "null"),
        ("b", "null"),
        ("c", "null"),
    ]
    assert s3.list_objects_v2(Bucket="bucket", MaxKeys=0)["KeyCount"] == 0
