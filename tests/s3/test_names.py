"""Names: a key is kept as the client wrote it, and a host name can contain the bucket."""

from __future__ import annotations

import contextlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.frontends.s3.errors import S3Error
from services.frontends.s3.names import (
    S3Target,
    bucket_of_host,
    is_bucket_name,
    parse_copy_source,
    parse_target,
)

KEYS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("/.%"), min_size=1, max_size=60
).filter(lambda key: len(key.encode()) <= 1024)


@given(KEYS, st.booleans())
def test_a_key_is_unchanged(key: str, hosted: bool) -> None:
    path = "/" + ("" if hosted else "bucket/") + quote(key, safe="/")
    target = parse_target(path, "bucket" if hosted else None)
    assert target == S3Target("bucket", key)
    assert target.location == f"bucket/{key}"
    assert parse_copy_source("bucket/" + quote(key, safe="/")) == target
    assert parse_copy_source(quote("/bucket/" + key, safe="")) == target  # as some SDKs encode it


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/", S3Target()),
        ("/bucket", S3Target("bucket")),
        ("/bucket/", S3Target("bucket")),
        ("/bucket//", S3Target("bucket", "/")),
        ("/bucket//a", S3Target("bucket", "/a")),
        ("/bucket/../a/./b//", S3Target("bucket", "../a/./b//")),
        ("/bucket/a%2Fb", S3Target("bucket", "a/b")),
        ("/bucket/a+b", S3Target("bucket", "a+b")),
    ],
)
def test_targets(path: str, target: S3Target) -> None:
    assert parse_target(path) == target


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/bucket/%", "InvalidURI"),
        ("/bucket/%AE%8A-", "InvalidURI"),
        ("/bucket/\xae\x8a-", "InvalidURI"),
        ("/bucket/a%0Ab", "InvalidURI"),
        ("/bucket/a%00b", "InvalidURI"),
        ("/bucket/" + "k" * 1025, "KeyTooLongError"),
        ("//key", "InvalidBucketName"),
        ("/%00s3/key", "InvalidBucketName"),
        ("/a%2Fb/key", "InvalidBucketName"),
    ],
)
def test_refused(path: str, code: str) -> None:
    with pytest.raises(S3Error) as raised:
        parse_target(path)
    assert raised.value.code == code


@given(st.text(st.characters(max_codepoint=255), max_size=80))
def test_no_path_is_more_than_an_error(path: str) -> None:
    with contextlib.suppress(S3Error):
        assert "\0" not in parse_target("/" + path).location


@pytest.mark.parametrize("name", ["abc", "a" * 63, "a.b-c", "0ab", "foo.111"])
def test_names_of_buckets(name: str) -> None:
    assert is_bucket_name(name)


@pytest.mark.parametrize(
    "name", ["", "ab", "a" * 64, "A.b", "-ab", "ab-", "a..b", "192.168.5.4", "a_b", "ä" * 5]
)
def test_what_is_no_name_of_a_bucket(name: str) -> None:
    assert not is_bucket_name(name)


def test_hosts() -> None:
    hosts = ("s3.example.com", "localhost")
    assert bucket_of_host("s3.example.com", hosts) == (True, None)
    assert bucket_of_host("S3.EXAMPLE.COM:9000", hosts) == (True, None)
    assert bucket_of_host("a.b.s3.example.com:80", hosts) == (True, "a.b")
    assert bucket_of_host("photos.localhost", hosts) == (True, "photos")
    assert bucket_of_host("example.com", hosts) == (False, None)
    assert bucket_of_host("xs3.example.com", hosts) == (False, None)
    assert bucket_of_host("[::1]:9000", hosts) == (False, None)


@pytest.mark.parametrize("path", ["/bkt/a//b/../c~(1)@x+y=!.jpg", "/bkt/" + "k" * 1024, "/bkt//", "/bkt/."])
def test_a_plain_path_is_what_it_is_encoded(path: str) -> None:
    encoded = path[:5] + "".join(f"%{ord(c):02X}" for c in path[5:])
    assert parse_target(path) == parse_target(encoded) == ("bkt", path[5:])
