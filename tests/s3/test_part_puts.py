"""An UploadPart without a handler is answered as the handler does, header for header."""

from __future__ import annotations

import base64
import os
import re
import zlib
from collections.abc import Callable

import pytest

from services.frontends.s3.aws_chunked import Decoder
from services.frontends.s3.multipart import UploadPart
from tests.s3.serving import SECRET, Served, served
from tests.s3.test_fast_path import changed, wire
from tests.support.processes import wait_for
from tests.support.raw import connected

BUCKET = "photos"
SMALL, LARGE = b"a part", b"0123456789" * 50_000  # one that comes with its head, and one that does not
_OWN = re.compile(rb"^(Date|x-amz-request-id): [^\r]+|<(RequestId|ServerTime)>[^<]*", re.MULTILINE)
Asking = Callable[[str], bytes]
"""The bytes of a request from the id of an upload, twice."""


def part(
    body: bytes, key: str | None = "alice", /, number: str = "1", more: str = "", **fields: str
) -> Asking:
    return lambda upload: wire(
        "PUT",
        f"/{BUCKET}/2024/a?partNumber={number}&uploadId={upload}{more}",
        key,
        SECRET,
        body,
        **fields,
    )


# Each with the status that it gets, and whether it needs no handler.
ASKED: dict[str, tuple[Asking, int, bool]] = {
    "small": (part(SMALL), 200, True),
    "large": (part(LARGE), 200, True),
    "empty": (part(b""), 200, True),
    "named": (part(SMALL, more="&x-id=UploadPart"), 200, True),
    "its checksum": (part(b"a", x_amz_checksum_crc32="6Le+Qw=="), 200, True),
    "another checksum": (part(LARGE, x_amz_checksum_crc32="6Le+Qw=="), 400, True),
    "its md5": (part(b"a", Content_MD5="DMF1ucDxtqgxw5niaXcmYQ=="), 200, True),
    "another md5": (part(LARGE, Content_MD5="DMF1ucDxtqgxw5niaXcmYQ=="), 400, True),
    "another body": (lambda u: changed(part(LARGE)(u), b"0123456789", b"012345678 "), 400, True),
    "another upload": (lambda u: part(LARGE)("none"), 404, True),
    "number 0": (part(LARGE, number="0"), 400, True),
    "number 10001": (part(LARGE, number="10001"), 400, True),
    "number x": (part(LARGE, number="x"), 400, False),
    "an acl": (part(LARGE, x_amz_acl="public-read"), 501, True),
    "a lock": (part(LARGE, x_amz_object_lock_mode="GOVERNANCE"), 501, False),
    "a storage class": (part(SMALL, x_amz_storage_class="STANDARD"), 200, True),
    "more in the query": (part(SMALL, more="&versionId=1"), 501, False),
    "who may only read": (part(LARGE, "reader"), 403, True),
    "who may only add": (part(LARGE, "adder"), 403, True),  # to uploads of others
    "whose prefix it is": (part(LARGE, "photos"), 200, True),
    "nobody": (part(LARGE, None), 403, False),
    "a key that is unknown": (part(LARGE, "eve"), 403, False),
    "another signature": (lambda u: changed(part(SMALL)(u), b"partNumber=1", b"partNumber=2"), 403, False),
    "a page": (part(SMALL, Origin="https://b.example", Sec_Fetch_Site="cross-site"), 403, False),
}


def answers_to(front: Served, asking: Asking) -> tuple[bytes, list[tuple[int, str, int]]]:
    """What it answers, and the parts that are there then."""
    s3 = front.client()
    s3.create_bucket(Bucket=BUCKET)
    where = {"Bucket": BUCKET, "Key": "2024/a"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    front.quick.clear()
    with connected(front.port) as connection:
        connection.send(asking(upload))
        said = _OWN.sub(rb"\1\2 ...", connection.rest()).replace(upload.encode(), b"...")
    taken = [*front.quick]
    parts = s3.list_parts(**where, UploadId=upload).get("Parts", [])
    front.quick[:] = taken
    return said, [(one["PartNumber"], one["ETag"], one["Size"]) for one in parts]


@pytest.mark.parametrize("cors", ["", "https://a.example"], ids=["plain", "cors"])
@pytest.mark.parametrize("name", ASKED)
def test_a_part_is_answered_alike(name: str, cors: str) -> None:
    asking, status, is_quick = ASKED[name]
    with served(cors_origins=cors) as fast, served(fast_path=False, cors_origins=cors) as handlers:
        found = [answers_to(front, asking) for front in (fast, handlers)]
        assert found[0] == found[1]
        said, parts = found[0]
        assert said.startswith(b"HTTP/1.1 %d " % status)
        assert bool(parts) == (status == 200)
        assert any(fast.quick) == is_quick
        assert not any(handlers.quick)


@pytest.mark.parametrize("trailer", ["x-amz-checksum-crc32:6Le+Qw==", "x-amz-checksum-crc32:AAAAAA=="])
@pytest.mark.parametrize("chunked", [False, True])
def test_framed_parts_are_answered_alike(trailer: str, chunked: bool) -> None:
    framed = b"1\r\na\r\n0\r\n" + trailer.encode() + b"\r\n\r\n"
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(framed), framed) if chunked else framed
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(framed)}"

    def asking(upload: str) -> bytes:
        return (
            f"PUT /{BUCKET}/2024/a?partNumber=1&uploadId={upload} HTTP/1.1\r\nHost: localhost\r\n"
            "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n"
            "x-amz-decoded-content-length: 1\r\nx-amz-trailer: x-amz-checksum-crc32\r\n"
            f"{length}\r\nConnection: close\r\n\r\n"
        ).encode() + sent

    with served(is_open=True) as fast, served(is_open=True, fast_path=False) as handlers:
        found = [answers_to(front, asking) for front in (fast, handlers)]
        assert any(fast.quick)
    assert found[0] == found[1]
    assert bool(found[0][1]) == ("AAAAAA" not in trailer)


@pytest.mark.parametrize("chunk_bytes", [10_007, 1 << 20, 5 << 20])
@pytest.mark.parametrize("broken", ["", "its framing", "its checksum", "its end"])
def test_a_large_framed_part_comes_into_memory_of_the_part(
    broken: str, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = os.urandom(5_000_000)
    crc = base64.b64encode(zlib.crc32(body).to_bytes(4, "big"))
    if broken == "its checksum":
        body = body[:-1] + bytes([body[-1] ^ 1])
    chunks = [body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes)]
    lines = [b"%x\r\n" % len(chunk) for chunk in chunks]
    if broken == "its framing":
        lines[-1] = b"one\r\n"
    framed = b"".join(line + chunk + b"\r\n" for line, chunk in zip(lines, chunks, strict=True))
    framed += b"0\r\nx-amz-checksum-crc32:" + crc + b"\r\n\r\n"
    if broken == "its end":
        framed += b"\r\nmore" * 10_000
    real, lent_bytes = Decoder.remove_framing, []

    def remove_framing(decoder: Decoder, data: memoryview) -> int:
        lent_bytes.append(len(data))
        return real(decoder, data)

    monkeypatch.setattr(Decoder, "remove_framing", remove_framing)

    def asking(upload: str) -> bytes:
        return (
            f"PUT /{BUCKET}/2024/a?partNumber=1&uploadId={upload} HTTP/1.1\r\nHost: localhost\r\n"
            "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n"
            f"x-amz-decoded-content-length: {len(body)}\r\nx-amz-trailer: x-amz-checksum-crc32\r\n"
            f"Content-Length: {len(framed)}\r\nConnection: close\r\n\r\n"
        ).encode() + framed

    with served(is_open=True) as fast, served(is_open=True, fast_path=False) as handlers:
        found = answers_to(fast, asking)
        assert sum(lent_bytes) == len(framed) or broken in ("its framing", "its end")
        assert found == answers_to(handlers, asking)
    said, parts = found
    assert said.startswith(b"HTTP/1.1 400 " if broken else b"HTTP/1.1 200 ")
    assert [size for _, _, size in parts] == ([] if broken else [len(body)])


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("is_there", [True, False])
def test_who_waits_for_100_is_told_before_the_body(fast_path: bool, is_there: bool) -> None:
    """Or is refused, and need not send it."""
    with served(fast_path=fast_path) as front:
        s3 = front.client()
        s3.create_bucket(Bucket=BUCKET)
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key="2024/a")["UploadId"]
        asked = part(LARGE, Expect="100-continue")(upload if is_there else "none")
        head, _, rest = asked.partition(b"\r\n\r\n")
        with connected(front.port) as connection:
            front.quick.clear()
            connection.send(head + b"\r\n\r\n")
            if is_there:
                assert connection.answer().status == 100
                connection.send(rest[: len(LARGE)])
                assert connection.answer().status == 200
            else:
                assert connection.answer().status == 404
        assert any(front.quick) == fast_path


@pytest.mark.parametrize("fast_path", [True, False])
def test_a_part_whose_client_leaves_is_given_up(fast_path: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = [], []
    real_begin, real_abort = UploadPart.begin, UploadPart.abort

    async def begin(operation: UploadPart) -> None:
        await real_begin(operation)
        begun.append(operation)

    async def abort(operation: UploadPart, reason: str) -> None:
        await real_abort(operation, reason)
        ended.append(reason)

    monkeypatch.setattr(UploadPart, "begin", begin)
    monkeypatch.setattr(UploadPart, "abort", abort)
    with served(fast_path=fast_path) as front:
        s3 = front.client()
        s3.create_bucket(Bucket=BUCKET)
        where = {"Bucket": BUCKET, "Key": "2024/a"}
        upload = s3.create_multipart_upload(**where)["UploadId"]
        with connected(front.port) as connection:
            connection.send(part(LARGE)(upload)[: len(LARGE) // 2])
            wait_for(lambda: bool(begun), 30.0, "the part")
        wait_for(lambda: bool(ended), 30.0, "the end of the part")
        assert ended == ["connection lost"]
        assert "Parts" not in s3.list_parts(**where, UploadId=upload)
