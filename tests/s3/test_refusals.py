"""Requests that ask for more than is done here: they are refused, and change nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.s3.serving import Served, served
from tests.s3.test_objects import BUCKET, ask, send

BODY = b"a body"


@pytest.fixture(scope="module")
def front() -> Iterator[Served]:
    with served() as made:
        made.client().create_bucket(Bucket=BUCKET)
        for key in ("a", "kept"):
            made.client().put_object(Bucket=BUCKET, Key=key, Body=BODY)
        yield made


@pytest.mark.parametrize(
    "condition",
    [
        "<Size>7</Size>",
        "<Size>6</Size>",
        "<LastModifiedTime>Tue, 15 Nov 1994 12:45:26 GMT</LastModifiedTime>",
    ],
)
def test_a_key_that_is_to_be_deleted_under_a_condition_that_is_not_judged_stays(
    front: Served, condition: str
) -> None:
    """It was deleted, whatever its size and time were."""
    document = f"<Delete><Object><Key>kept</Key>{condition}</Object></Delete>"
    status, said = ask(front, "POST", f"/{BUCKET}?delete", document.encode())
    assert (status, "<Deleted>" in said) == (200, False)
    assert "<Code>NotImplemented</Code>" in said
    assert f"{BUCKET}/kept" in front.store.blobs


@pytest.mark.parametrize("length", [19, 5000])
def test_a_range_of_a_source_with_endless_digits_is_refused(front: Served, length: int) -> None:
    """It was answered with 500: Python refuses to read a number of so many digits."""
    upload = front.client().create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
    status, said = ask(
        front,
        "PUT",
        f"/{BUCKET}/parts?partNumber=1&uploadId={upload}",
        x_amz_copy_source=f"/{BUCKET}/a",
        x_amz_copy_source_range="bytes=0-" + "9" * length,
    )
    assert (status, "<Code>InvalidArgument</Code>" in said) == (400, True)


@pytest.mark.parametrize("escaped", ["%01", "a%0Ab", "a%0Db", "%00", "%7F"])
def test_a_field_of_the_answer_that_no_field_can_be_is_refused(front: Served, escaped: str) -> None:
    """Some were answered with 500."""
    status, said = ask(front, "GET", f"/{BUCKET}/a?response-content-disposition={escaped}")
    assert (status, "<Code>InvalidArgument</Code>" in said) == (400, True)


def test_a_name_of_a_file_in_utf_8_can_be_in_the_answer(front: Served) -> None:
    status, said = ask(front, "GET", f"/{BUCKET}/a?response-content-disposition=a%3B%20filename%3D%C3%A9")
    assert (status, said) == (200, BODY.decode())


@pytest.fixture(scope="module")
def open_front() -> Iterator[Served]:
    """Nobody has to sign."""
    with served(is_open=True) as made:
        assert send(made, "PUT", f"/{BUCKET}", b"", {})[0] == 200
        yield made


@pytest.mark.parametrize("size", [len(BODY), 100_000])
@pytest.mark.parametrize(
    ("announced", "trailer", "code"),
    [
        ("", "x-amz-checksum-crc32:AAAAAA==", "MalformedTrailerError"),
        ("x-amz-checksum-crc32", "x-amz-checksum-crc32c:AAAAAA==", "MalformedTrailerError"),
        ("x-amz-checksum-crc32", "x-amz-checksum-crc32:AAAAAA==", "BadDigest"),
        ("x-amz-checksum-crc32", "x-amz-meta-a:b", "MalformedTrailerError"),
        ("x-amz-meta-a", "x-amz-meta-a:b", "InvalidRequest"),
        ("x-amz-checksum-crc32", "", "InvalidRequest"),
    ],
)
def test_a_trailer_is_a_checksum_and_compared_or_refused(
    open_front: Served, announced: str, trailer: str, code: str, size: int
) -> None:
    """What was not announced, or is no checksum, was not looked at, and its client believed that it was."""
    body = BODY.ljust(size, b".")
    framed = b"%x\r\n%b\r\n0\r\n%b\r\n\r\n" % (len(body), body, trailer.encode())
    fields = {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(len(body)),
        "x-amz-trailer": announced,
    }
    status, said, _ = send(open_front, "PUT", f"/{BUCKET}/trailer", framed, fields)
    assert status == 400
    assert f"<Code>{code}</Code>" in said.decode()
    assert f"{BUCKET}/trailer" not in open_front.store.blobs


@pytest.mark.parametrize(
    ("method", "query"),
    [("GET", "prefix=b&prefix=a"), ("GET", "list-type=2&list-type=2"), ("PUT", "acl&acl")],
)
def test_a_parameter_that_occurs_twice_is_refused(front: Served, method: str, query: str) -> None:
    """The first counted, and the other was ignored."""
    status, said = ask(front, method, f"/{BUCKET}?{query}")
    assert (status, "<Code>InvalidArgument</Code>" in said) == (400, True)


def test_a_form_is_not_implemented(front: Served) -> None:
    """It was told to sign, and a form is signed in its body."""
    fields = {"content-type": "multipart/form-data; boundary=b"}
    status, said, _ = send(front, "POST", f"/{BUCKET}", b"--b--", fields)
    assert (status, b"<Code>NotImplemented</Code>" in said) == (501, True)


@pytest.mark.parametrize("sha256", ["UNSIGNED-PAYLOAD", ""])
@pytest.mark.parametrize("path", ["framed", "parts?partNumber=1&uploadId={upload}"])
def test_a_framed_body_that_is_not_said_to_be_one_is_refused(
    open_front: Served, path: str, sha256: str
) -> None:
    """It was stored with its framing."""
    begun = send(open_front, "POST", f"/{BUCKET}/parts?uploads", b"", {})[1].decode()
    upload = begun.partition("<UploadId>")[2].partition("<")[0]
    before = {*open_front.store.blobs}
    fields = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": "5"}
    fields |= {"x-amz-content-sha256": sha256} if sha256 else {}
    at = f"/{BUCKET}/{path.replace('{upload}', upload)}"
    status, said, _ = send(open_front, "PUT", at, b"5\r\nhello\r\n0\r\n\r\n", fields)
    assert (status, b"STREAMING-" in said) == (400, True)
    assert before == {*open_front.store.blobs}
    # Some clients name the framing without it, and the length of what they send.
    plain = {**fields, "content-encoding": "gzip,aws-chunked"}
    assert send(open_front, "PUT", at, b"hello", plain)[0] == 200


@pytest.mark.parametrize(
    ("method", "target", "sentence"),
    [
        ("PUT", f"/{BUCKET}?versioning", "PUT ?versioning of a bucket is not implemented here."),
        ("PUT", f"/{BUCKET}/a?tagging", "PUT ?tagging of an object is not implemented here."),
        ("GET", f"/{BUCKET}?inventory&id=1", "GET ?inventory of a bucket is not implemented here."),
        ("POST", f"/{BUCKET}/a?restore", "POST ?restore of an object is not implemented here."),
        ("DELETE", f"/{BUCKET}?cors", "DELETE ?cors of a bucket is not implemented here."),
        ("POST", "/", "POST of the service is not implemented here."),
        (
            "GET",
            f"/{BUCKET}?new=1",
            "The parameter 'new' of ListObjects is not implemented here: leave it out.",
        ),
    ],
)
def test_what_is_not_here_is_named_as_it_was_asked(
    front: Served, method: str, target: str, sentence: str
) -> None:
    """PUT ?versioning was called a parameter of CreateBucket, which was to be left out."""
    status, said = ask(front, method, target)
    assert (status, f"<Message>{sentence}</Message>" in said.replace("&#x27;", "'")) == (501, True), said


@pytest.mark.parametrize("name", ["ab", "Photos", "my_bucket", "a..b", "10.0.0.1", "-abc"])
def test_a_name_that_no_bucket_can_have_is_refused_with_the_rule(front: Served, name: str) -> None:
    """The text named a page that did not have the rule."""
    status, said = ask(front, "PUT", f"/{name}")
    assert (status, "<Code>InvalidBucketName</Code>" in said, "3 to 63 of a-z 0-9" in said) == (
        400,
        True,
        True,
    )


def test_who_wants_a_public_object_is_told_how(front: Served) -> None:
    status, said = ask(front, "PUT", f"/{BUCKET}/public", b"x", x_amz_acl="public-read")
    assert (status, "by the option public." in said) == (501, True), said
    assert f"{BUCKET}/public" not in front.store.blobs
