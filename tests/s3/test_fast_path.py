"""The fast path answers as the handler does, byte for byte, and only clients with the right."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from services.store import Blob, Content
from tests.s3.serving import SECRET, Served, served
from tests.s3.signing import signed_by_botocore
from tests.support.memory_store import MemoryStore
from tests.support.raw import connected

_OWN = re.compile(rb"^(Date|x-amz-request-id): [^\r]+|<(RequestId|ServerTime)>[^<]*", re.MULTILINE)


_TIMES = re.compile(rb"<LastModified>[^<]*")


@dataclass
class Both:
    """Two servers of one store. One of them answers everything by its handler."""

    fast: Served
    handlers: Served

    def ask(self, request: bytes) -> tuple[bool, list[bytes]]:
        """Send the same to both. Gives whether the fast path answered any of it, and the answers of both."""
        answers = []
        self.fast.quick.clear()
        for front in (self.fast, self.handlers):
            with connected(front.port) as connection:
                connection.send(request)
                answers.append(_OWN.sub(rb"\1\2 ...", connection.rest()))
        assert answers[0] == answers[1]
        return any(self.fast.quick), answers[0].split(b"HTTP/1.1 ")[1:]


def anything(blob: Blob | None, damaged: bool) -> None:
    """Every condition holds."""


@pytest.fixture(scope="module", params=["", "https://a.example"], ids=["plain", "cors"])
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    store = MemoryStore()
    options = {"make_store": lambda: store, "public": "photos/open/", "cors_origins": request.param}
    with served(**options) as fast, served(fast_path=False, **options) as handlers:
        s3 = fast.client()
        s3.create_bucket(Bucket="photos")
        for key in KEYS:
            s3.put_object(
                Bucket="photos",
                Key=key,
                Body=b"a body",
                ContentType="text/plain",
                CacheControl="max-age=5",
                Metadata={"Colour": "blue", "n": "1"},
                ChecksumAlgorithm="CRC32C",
            )
        asyncio.run(store.write_whole("photos/odd", anything, ODD, b"a body"))
        yield Both(fast, handlers)


ODD = Content("text/x\r\nX-Forged: 1", "gzip", {"x-meta-a": "bl\xc3\xbce", "x-meta-b": "\u2028"})
KEYS = ("2024/a", "2023/a", "open/a b+c%/\xfc", "open/../x//")


def wire(
    method: str,
    target: str,
    key: str | None = "alice",
    secret: str = SECRET,
    body: bytes = b"",
    /,
    **fields: str,
) -> bytes:
    """The bytes of a request, signed by `key`, twice. The second one is the last of its connection."""
    given = {name.replace("_", "-"): value for name, value in fields.items()}
    head = {"Host": "localhost", **given}
    if key is not None:
        asked = signed_by_botocore(method, f"http://localhost{target}", key, secret, headers=given, body=body)
        head = {"Host": "localhost"} | {name: values[0] for name, values in asked.headers.items()}
        head = {name: value for name, value in head.items() if name != "host"}
    if method == "PUT":
        head = {name: value for name, value in head.items() if name.lower() != "content-length"}
        head["Content-Length"] = str(len(body))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
    once = "\r\n".join(lines)
    ends = b"\r\n\r\n" + body, b"\r\nConnection: close\r\n\r\n" + body
    return b"".join(once.encode("latin-1") + end for end in ends)


PLAIN = [
    ("GET", "/photos/2024/a", {}),
    ("HEAD", "/photos/2024/a", {}),
    ("GET", "/photos/2024/a?x-id=GetObject", {}),
    ("GET", "/photos/2024/a", {"x_amz_checksum_mode": "ENABLED"}),
    ("HEAD", "/photos/2023/a", {"x_amz_checksum_mode": "enabled", "User_Agent": "a b"}),
    ("GET", "/photos/open/a%20b%2Bc%25/%C3%BC", {}),
    ("GET", "/photos/open/../x//", {}),
    ("GET", "/photos/odd", {}),  # a value that cannot be in a field is left out
]
NOT_PLAIN = [
    ("GET", "/photos/2024/a", {"Range": "bytes=1-2"}),
    ("GET", "/photos/2024/a", {"If_None_Match": "*"}),
    ("GET", "/photos/2024/a", {"Origin": "https://a.example"}),
    ("GET", "/photos/2024/a", {"x_amz_object_lock_mode": "GOVERNANCE"}),
    ("GET", "/photos/2024/a", {"x_amz_security_token": "t"}),
    ("GET", "/photos/2024/a?acl", {}),
    ("GET", "/photos/2024/a?versionId=1", {}),
    ("GET", "/photos/2024/a?response-content-type=a", {}),
    ("GET", "/photos/2024/a?x-id=x", {}),
    ("GET", "/photos/missing", {}),
    ("GET", "/photos/", {}),
    ("GET", "/photos", {}),
    ("GET", "/", {}),
    ("GET", "/photos/%zz", {}),
    ("DELETE", "/photos/missing", {}),
]


@pytest.mark.parametrize(("method", "target", "fields"), PLAIN)
def test_what_is_plain_is_answered_alike(
    both: Both, method: str, target: str, fields: dict[str, str]
) -> None:
    quick, answers = both.ask(wire(method, target, **fields))
    assert quick
    assert [answer[:3] for answer in answers] == [b"200", b"200"]


@pytest.mark.parametrize(("method", "target", "fields"), NOT_PLAIN)
def test_all_else_is_the_handlers(both: Both, method: str, target: str, fields: dict[str, str]) -> None:
    quick, answers = both.ask(wire(method, target, **fields))
    assert not quick
    assert answers


def changed(request: bytes, old: bytes, new: bytes) -> bytes:
    assert old in request
    return request.replace(old, new)


# Each request, with the status that it gets.
WHO = {
    "one who may": (wire("GET", "/photos/2024/a", "photos"), b"200"),
    "one whose prefix it is not": (wire("GET", "/photos/2023/a", "photos"), b"403"),
    "one whose prefix it only looks like": (wire("GET", "/photos/2024/../2023/a", "photos"), b"404"),
    "a reader": (wire("GET", "/photos/2024/a", "reader"), b"200"),
    "nobody": (wire("GET", "/photos/2024/a", None), b"403"),
    "nobody, what is public": (wire("GET", "/photos/open/../x//", None), b"200"),
    "a key that is unknown": (wire("GET", "/photos/2024/a", "eve"), b"403"),
    "another secret": (wire("GET", "/photos/2024/a", "alice", "other"), b"403"),
    "another method": (changed(wire("GET", "/photos/2024/a"), b"GET", b"HEAD"), b"403"),
    "another key": (changed(wire("GET", "/photos/2024/a"), b"/2024/", b"/2023/"), b"403"),
    "another host": (changed(wire("GET", "/photos/2024/a"), b"localhost", b"elsewhere"), b"403"),
    "a field that is not signed": (
        changed(wire("GET", "/photos/2024/a"), b"Host:", b"x-amz-checksum-mode: ENABLED\r\nHost:"),
        b"403",
    ),
    "a query that is not signed": (
        changed(wire("GET", "/photos/2024/a"), b"2024/a HTTP", b"2024/a?x-id=GetObject HTTP"),
        b"403",
    ),
}


@pytest.mark.parametrize("who", WHO)
def test_the_same_may_be_read_by_the_same(both: Both, who: str) -> None:
    request, status = WHO[who]
    quick, answers = both.ask(request)
    assert {answer[:3] for answer in answers} == {status}
    assert quick == (status == b"200")


def test_a_signature_is_good_for_fifteen_minutes(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    request = wire("GET", "/photos/2024/a")
    assert both.ask(request)[0]
    monkeypatch.setattr("services.frontends.s3.fast_path.time", lambda: 1e9)
    both.fast.quick.clear()
    with connected(both.fast.port) as connection:
        connection.send(request)
        assert connection.rest().count(b" 200 OK") == 2  # by the handler, whose clock was not changed
    assert not any(both.fast.quick)


def test_what_was_replaced_or_deleted_is_not_shown_again(both: Both) -> None:
    s3 = both.fast.client()
    for body in (b"one", b"longer"):
        s3.put_object(Bucket="photos", Key="changing", Body=body)
        quick, answers = both.ask(wire("GET", "/photos/changing"))
        assert quick
        assert all(answer.endswith(b"\r\n\r\n" + body) for answer in answers)
    s3.delete_object(Bucket="photos", Key="changing")
    assert [answer[:3] for answer in both.ask(wire("GET", "/photos/changing"))[1]] == [b"404", b"404"]


def test_who_loses_access_is_answered_no_more() -> None:
    with served() as front:
        front.client().create_bucket(Bucket="photos")
        front.client().put_object(Bucket="photos", Key="a", Body=b"a")
        request = wire("GET", "/photos/a")
        with connected(front.port) as connection:
            connection.send(request)
            assert connection.rest().count(b" 200 OK") == 2
        front.access.replace([])
        with connected(front.port) as connection:
            connection.send(request)
            assert connection.rest().count(b"InvalidAccessKeyId") == 2


def test_where_everyone_may_no_signature_is_looked_at() -> None:
    with served(is_open=True) as front:
        s3 = front.client()
        s3.create_bucket(Bucket="photos")
        s3.put_object(Bucket="photos", Key="a", Body=b"a")
        front.quick.clear()
        with connected(front.port) as connection:
            connection.send(wire("GET", "/photos/a", None))
            assert connection.rest().count(b" 200 OK") == 2
        assert front.quick[0]


A_CRC, SDK = {"x_amz_checksum_crc32": "6Le+Qw=="}, "x_amz_sdk_checksum_algorithm"
PUTS: dict[str, tuple[str, str, bytes, dict[str, str]]] = {
    "plain": ("200", "/photos/put/a", b"a body", {}),
    "empty": ("200", "/photos/put/e", b"", {}),
    "named": ("200", "/photos/put/a?x-id=PutObject", b"b", {"x_amz_meta_a": "b", "Content_Type": "text/x"}),
    "its checksum": ("200", "/photos/put/c", b"a", {"x_amz_checksum_crc32": "6Le+Qw=="}),
    "another checksum": ("400", "/photos/put/c", b"a", {"x_amz_checksum_crc32": "6Le+Qg=="}),
    "its crc32c": ("200", "/photos/put/c", b"a", {"x_amz_checksum_crc32c": "wdBDMA=="}),
    "its crc64": ("200", "/photos/put/c", b"", {"x_amz_checksum_crc64nvme": "AAAAAAAAAAA="}),
    "its sha1": ("200", "/photos/put/c", b"a", {"x_amz_checksum_sha1": "hvfkN/qlp/zhXR3cuerq6jd2Z7g="}),
    "its checksum, named": ("200", "/photos/put/c", b"a", {**A_CRC, SDK: "crc32"}),
    "a checksum, another named": ("400", "/photos/put/c", b"a", {**A_CRC, SDK: "CRC32C"}),
    "a checksum named": ("200", "/photos/put/c", b"a", {SDK: "CRC32"}),
    "two checksums": ("400", "/photos/put/c", b"a", {**A_CRC, "x_amz_checksum_crc32c": "wdBDMA=="}),
    "no checksum": ("400", "/photos/put/c", b"a", {"x_amz_checksum_crc32": ""}),
    "its md5": ("200", "/photos/put/m", b"a", {"Content_MD5": "DMF1ucDxtqgxw5niaXcmYQ=="}),
    "another md5": ("400", "/photos/put/m", b"a", {"Content_MD5": "DMF1ucDxtqgxw5niaXcmYA=="}),
    "only new": ("412", "/photos/put/a", b"c", {"If_None_Match": "*"}),
    "what is not there": ("404", "/photos/put/none", b"c", {"If_Match": '"x"'}),
    "no bucket": ("404", "/none/a", b"c", {}),
    "another acl": ("501", "/photos/put/a", b"c", {"x_amz_acl": "public-read-write"}),
    "a lock": ("501", "/photos/put/a", b"c", {"x_amz_object_lock_mode": "GOVERNANCE"}),
    "a copy": ("200", "/photos/put/d", b"", {"x_amz_copy_source": "photos/2024/a"}),
    "a bucket": ("200", "/another", b"", {}),
    "a page": ("403", "/photos/put/a", b"c", {"Origin": "https://b.example", "Sec_Fetch_Site": "cross-site"}),
}


@pytest.mark.parametrize(
    ("sha256", "status"), [(None, b"200"), ("UNSIGNED-PAYLOAD", b"200"), ("0" * 64, b"400"), ("odd", b"200")]
)
def test_a_plain_put_without_a_signature(sha256: str | None, status: bytes) -> None:
    """Where everyone may do everything. What the bytes are said to be is compared all the same."""
    answers = []
    for how in (True, False):
        with served(is_open=True, fast_path=how) as front:
            front.client().create_bucket(Bucket="photos")
            said = {} if sha256 is None else {"x_amz_content_sha256": sha256}
            with connected(front.port) as connection:
                connection.send(wire("PUT", "/photos/put/a", None, SECRET, b"a body", **said))
                answers.append(_OWN.sub(rb"\1\2 ...", connection.rest()))
            assert ("photos/put/a" in front.store.blobs) == (status == b"200")
    assert answers[0] == answers[1]
    assert answers[0].count(b"HTTP/1.1 " + status) == 2


@pytest.mark.parametrize("etag", ["auto", "md5", "fast"])
def test_a_plain_put_is_answered_as_the_handler_does(etag: str) -> None:
    """Also what is refused: other bytes than were signed, a bucket that is not there, no right to replace."""
    whole = wire("PUT", "/photos/put/a", "alice", SECRET, b"a body", Content_Type="text/x")
    answers = []
    for how in (True, False):
        with served(fast_path=how, s3_etag=etag) as front:
            front.client().create_bucket(Bucket="photos")
            said = []
            for request in (
                whole,
                changed(whole, b"a body", b"A body"),
                wire("PUT", "/none/put/a", "alice", SECRET, b"a body"),
                wire("PUT", "/photos/put/a", "adder", SECRET, b"another"),
                wire("PUT", "/photos/put/new", "adder", SECRET, b"another"),
                wire("PUT", "/photos/put/new", "reader", SECRET, b"another"),
                wire("PUT", "/photos/put/new", "photos", SECRET, b"another"),
            ):
                with connected(front.port) as connection:
                    connection.send(request)
                    said.append(_OWN.sub(rb"\1\2 ...", connection.rest()))
            there = {
                where: (one.type, one.sha256, dict(one.metadata), content)
                for where, (one, content) in front.store.blobs.items()
            }
            assert front.quick.count(True) == (14 if how else 0)
        answers.append((said, there))
    assert answers[0] == answers[1]
    said, there = answers[0]
    assert [one.count(b" 200 OK") for one in said] == [2, 0, 0, 0, 1, 0, 0]
    assert said[1].count(b"XAmzContentSHA256Mismatch") == 2
    assert there["photos/put/a"][3] == b"a body"


@pytest.mark.parametrize("name", PUTS)
@pytest.mark.parametrize("key", ["alice", "adder", "reader", "photos", "eve"])
def test_what_is_put_is_answered_alike(both: Both, name: str, key: str) -> None:
    """Both begin with an empty store. The fast path passes on only what a handler has to judge."""
    both.fast.quick.clear()
    _, target, body, fields = PUTS[name]
    answers = []
    for front in (both.fast, both.handlers):
        for location in [one for one in front.store.blobs if "/put/" in one]:
            del front.store.blobs[location]
        said = []
        for content in (body, body + b"2" if name in ("plain", "named") else body):
            request = wire("PUT", target, key, SECRET, content, **fields)
            with connected(front.port) as connection:
                connection.send(request)
                said.append(_OWN.sub(rb"\1\2 ...", connection.rest()))
        blobs = {
            where: (one.type, dict(one.metadata), content)
            for where, (one, content) in front.store.blobs.items()
            if "/put/" in where
        }
        answers.append((_TIMES.sub(b"...", b"".join(said)), blobs))
    assert answers[0] == answers[1]
    assert any(both.fast.quick) == (name not in ("a copy", "a bucket", "a lock", "a page") and key != "eve")
    if key in ("reader", "photos", "eve"):  # no role, another prefix, no client
        assert not answers[0][1]
        assert b" 200 " not in answers[0][0]
    if key == "alice":
        assert PUTS[name][0].encode() in answers[0][0].split(b"HTTP/1.1 ")[-2][:3]
