"""Every parameter that the SDKs know of the operations here is honoured, refused, or changes nothing.

The names come from botocore's description of S3. So a parameter that is new in it fails here until somebody
decides. Each is sent with a telling value, alone. The answer and what is stored are compared with those of
the same request without it.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from typing import Any
from urllib.parse import quote

import botocore.session
import pytest

from services.frontends.s3.errors import STATUS
from services.frontends.s3.names import RECORD
from tests.s3.parameters import BASES, CASES, FUTURE, PAST, Base, Case, Harmless, Refused
from tests.s3.serving import SECRET, Served, served
from tests.s3.signing import signed_by_botocore

MIB = 1 << 20

# What every request with a body has, and botocore makes of it.
FRAMING = {"Content-Length", "Body"}


@cache
def known() -> list[tuple[str, str, str, str]]:
    """(operation, where, name, name of a member of a body) of all that botocore knows."""
    service = botocore.session.get_session().get_service_model("s3")
    found = []
    for operation in BASES:
        for name, member in service.operation_model(operation).input_shape.members.items():
            where = member.serialization.get("location", "body")
            wire = member.serialization.get("name", name)
            if where == "uri" or wire in FRAMING:
                continue
            has_members = where == "body" and name != "AccessControlPolicy"
            inner_names = members_of(member) if has_members else [""]
            found += [(operation, where, wire, inner) for inner in inner_names]
    return found


def members_of(shape: Any) -> Iterator[str]:
    """The members of a body and of what is repeated in it."""
    for name, member in shape.members.items():
        if member.type_name == "list" and member.serialization.get("flattened"):
            yield from members_of(member.member)
        else:
            yield name


def case_of(operation: str, name: str, inner: str) -> Case:
    found = CASES[name]
    return found[inner or operation] if isinstance(found, dict) else found


class Front:
    """A served store, which each request finds as it was made."""

    def __init__(self, front: Served) -> None:
        self.front = front
        s3 = front.client()
        for bucket in ("photos", "empty"):
            s3.create_bucket(Bucket=bucket)
        for key in ("a", "b", "c"):
            s3.put_object(Bucket="photos", Key=key, Body=b"a body", ChecksumAlgorithm="CRC32C")
        upload = self._begin(s3, "parts")
        parts = [
            {"PartNumber": number, **self._part(s3, "parts", upload, number, body)}
            for number, body in ((1, b"x" * 5 * MIB), (2, b"y"))
        ]
        s3.complete_multipart_upload(
            Bucket="photos", Key="parts", UploadId=upload, MultipartUpload={"Parts": parts}
        )
        self.upload = self._begin(s3, "c")
        self._begin(s3, "dir")
        self.etag = self._part(s3, "c", self.upload, 1, b"a part")["ETag"].strip('"')
        self._made = dict(front.store.blobs)

    def _begin(self, s3: Any, key: str) -> str:
        made = s3.create_multipart_upload(Bucket="photos", Key=key, ChecksumAlgorithm="CRC32")
        return made["UploadId"]  # type: ignore[no-any-return]

    def _part(self, s3: Any, key: str, upload: str, number: int, body: bytes) -> dict[str, str]:
        where = {"Bucket": "photos", "Key": key, "UploadId": upload, "PartNumber": number}
        said = s3.upload_part(**where, Body=body, ChecksumAlgorithm="CRC32")
        return {"ETag": said["ETag"], "ChecksumCRC32": said["ChecksumCRC32"]}

    def send(self, base: Base, where: str = "", name: str = "", value: str = "") -> tuple[int, str, bool]:
        """Status, all that the answer and the store then say, and whether the store was changed."""
        blobs = self.front.store.blobs
        blobs.clear()
        blobs.update(self._made)
        target = base.target.replace("{upload}", self.upload)
        fields = dict(base.fields)
        body = (value if where == "body" else base.body).replace("{etag}", self.etag).encode()
        if where in ("header", "headers"):
            fields[name + ("n" if name.endswith("-") else "")] = value
        elif where == "querystring":
            escaped = quote(value, safe="")
            path, _, query = target.partition("?")
            others = [one for one in query.split("&") if one and one.partition("=")[0] != name]
            target = f"{path}?{'&'.join([*others, f'{name}={escaped}'])}"
        url = f"http://127.0.0.1:{self.front.port}{target}"
        signed = signed_by_botocore(base.method, url, "alice", SECRET, headers=fields, body=body)
        with closing(http.client.HTTPConnection("127.0.0.1", self.front.port, timeout=60)) as connection:
            connection.putrequest(base.method, target, skip_host=True, skip_accept_encoding=True)
            for field, values in {"content-length": [str(len(body))], **signed.headers}.items():
                connection.putheader(field, values[0])
            connection.endheaders(body)
            answer = connection.getresponse()
            said = [f"status: {answer.status}"]
            said += [f"{field.lower()}: {text}" for field, text in answer.getheaders()]
            said.append(answer.read().decode("latin-1"))
        changed = {at: held for at, held in blobs.items() if self._made.get(at) is not held}
        for at, (blob, content) in changed.items():
            said.append(f"{at} {blob.type!r} {blob.encoding!r} {blob.metadata}")
            said.append(content.decode("latin-1") if at.startswith(RECORD) else "")  # of a front end
        return answer.status, plain("\n".join(said)), bool(changed) or len(blobs) < len(self._made)


def plain(text: str) -> str:
    """Without what differs from one request to the next."""
    text = re.sub(r"(?m)^(date|x-amz-request-id|last-modified): .*$", r"\1", text)
    return re.sub(
        r"<(RequestId|LastModified|Initiated|UploadId)>[^<]*|\b([0-9a-f]{32,}|[0-9]{15,})\b", r"<\1>", text
    )


@pytest.fixture(scope="module", params=[True, False], ids=["fast", "handler"])
def front(request: pytest.FixtureRequest) -> Iterator[Front]:
    with served(fast_path=request.param) as made:
        yield Front(made)


def fault(case: Case, method: str, answer: tuple[int, str, bool], usual: str) -> str:
    """What the answer with a parameter is not, or nothing. `usual`: the answer without it."""
    status, text, changed = answer
    if isinstance(case, Refused):
        said_why = method == "HEAD" or f"<Code>{case.code}<" in text
        return "" if status == STATUS[case.code] and said_why and not changed else f"not {case.code}: {text}"
    if isinstance(case, Harmless):
        return "" if text == usual else f"not as usual: {text}"
    shows = case.shown if callable(case.shown) else lambda said: case.shown in said
    return "" if status < 400 and shows(text) and not shows(usual) else f"not honoured: {text}"


@pytest.mark.parametrize("operation", BASES)
def test_each_parameter_is_honoured_or_refused(front: Front, operation: str) -> None:
    base = BASES[operation]
    status, usual, _ = front.send(base)
    assert status < 300, usual
    faults = {}
    for of, where, name, inner in known():
        if of == operation:
            case = case_of(operation, name, inner)
            faults[name, inner] = fault(case, base.method, front.send(base, where, name, case.value), usual)
    assert not {which: what for which, what in faults.items() if what}
    assert front.send(base)[:2] == (status, usual)  # what they were compared with


def test_all_that_is_known_was_judged() -> None:
    """And no case is of a parameter that there is not."""
    assert {name for _, _, name, _ in known()} == CASES.keys()


@pytest.mark.parametrize("operation", BASES)
def test_what_nobody_knows_is_refused(front: Front, operation: str) -> None:
    for where, name in (("header", "x-amz-new"), ("querystring", "new")):
        status, said, changed = front.send(BASES[operation], where, name, "true")
        assert (status, changed) == (501, False), f"{where}: {said}"


@pytest.mark.parametrize("operation", BASES)
def test_a_parameter_of_other_operations_is_refused(front: Front, operation: str) -> None:
    """A list of version 1 ignored where one of version 2 begins, so a client got the same page for ever."""
    places = {(of, name) for of, where, name, _ in known() if where == "querystring"}
    for name in sorted({name for of, name in places} - {name for of, name in places if of == operation}):
        status, said, changed = front.send(BASES[operation], "querystring", name, "true")
        assert (status >= 400, changed) == (True, False), f"{name}: {said}"


@pytest.mark.parametrize(
    ("operation", "name", "value"),
    [
        ("GetObject", "x-amz-te", "append-md5"),
        ("GetObject", "x-amz-cf-id", "abc"),
        ("HeadObject", "x-amz-request-id", "abc"),
        ("CreateMultipartUpload", "x-amz-metadata-directive", "REPLACE"),
        ("UploadPartCopy", "x-amz-metadata-directive", "COPY"),
    ],
)
def test_what_programs_add_that_changes_nothing_is_accepted(
    front: Front, operation: str, name: str, value: str
) -> None:
    status, said, _ = front.send(BASES[operation], "header", name, value)
    assert status < 300, said
    assert said == front.send(BASES[operation])[1]


CONDITIONS = {
    "If-Match": '"0"',
    "If-None-Match": "*",
    "If-Modified-Since": FUTURE,
    "If-Unmodified-Since": PAST,
}
WRITES = [name for name, base in BASES.items() if base.method not in ("GET", "HEAD")]


@pytest.mark.parametrize("operation", WRITES)
def test_a_condition_of_a_write_that_does_not_hold_prevents_it(front: Front, operation: str) -> None:
    """Whether it is judged, or refused since it is not."""
    for name, value in CONDITIONS.items():
        status, said, changed = front.send(BASES[operation], "header", name, value)
        assert (status in (412, 501), changed) == (True, False), f"{name}: {said}"


@pytest.mark.parametrize("operation", WRITES)
def test_a_write_of_a_range_is_refused(front: Front, operation: str) -> None:
    """The whole object was replaced by the bytes of the range."""
    status, said, changed = front.send(BASES[operation], "header", "Content-Range", "bytes 5-9/20")
    assert (status, changed) == (501, False), said


@pytest.mark.parametrize("name", ["Digest", "Content-Digest", "Repr-Digest"])
@pytest.mark.parametrize("operation", ["PutObject", "UploadPart"])
def test_a_digest_that_is_not_compared_is_refused(front: Front, operation: str, name: str) -> None:
    value = f"sha-256=:{'A' * 43}=:"
    status, said, changed = front.send(BASES[operation], "header", name, value)
    assert (status, changed) == (501, False), said


@pytest.mark.parametrize(
    ("operation", "name", "value"),
    [
        ("PutObject", "x-amz-tagging", "false"),
        ("PutObject", "x-amz-website-redirect-location", "false"),
        ("CopyObject", "x-amz-copy-source-range", "bytes=0-1"),
        ("CopyObject", "x-amz-checksum-crc32", "AAAAAA=="),
        ("PutObject", "x-amz-copy-source-if-match", '"0"'),
        ("PutObject", "x-amz-checksum-type", "COMPOSITE"),
        ("GetObject", "x-amz-checksum-mode", "OTHER"),
        ("UploadPart", "x-amz-checksum-algorithm", "SHA1"),
    ],
)
def test_a_field_of_another_operation_or_value_is_refused(
    front: Front, operation: str, name: str, value: str
) -> None:
    status, said, changed = front.send(BASES[operation], "header", name, value)
    assert (status in (400, 501), changed) == (True, False), said


def test_what_a_link_says_counts_where_nobody_must_sign() -> None:
    """The fields of a presigned request are in its query; they were not looked at."""
    with served(is_open=True) as front:
        front.client().create_bucket(Bucket="photos")
        with closing(http.client.HTTPConnection("127.0.0.1", front.port, timeout=60)) as connection:
            connection.request("PUT", "/photos/a?x-amz-tagging=a%3Db", b"a body")
            assert connection.getresponse().status == 501
        assert "photos/a" not in front.store.blobs


# Bucket configurations that nobody can make here: reading them is answered as where nobody did (see stubs).
UNCONFIGURED = {
    *("GetBucketPolicy", "GetBucketCors", "GetBucketLifecycle", "GetBucketLifecycleConfiguration"),
    *("GetBucketWebsite", "GetBucketTagging", "GetBucketEncryption", "GetBucketReplication"),
    *("GetObjectLockConfiguration", "GetBucketOwnershipControls"),
    *("GetBucketPolicyStatus", "GetPublicAccessBlock"),
}
DEFAULTS = {
    *("GetBucketAccelerateConfiguration", "GetBucketLogging", "GetBucketRequestPayment"),
    *("GetBucketNotification", "GetBucketNotificationConfiguration"),
}
OF_DIRECTORY_BUCKETS = {"ListDirectoryBuckets"}  # the request of ListBuckets, to another host


def others() -> Iterator[tuple[str, str, str]]:
    """(name, method, target) of each operation that botocore knows and that is not here."""
    service = botocore.session.get_session().get_service_model("s3")
    for name in service.operation_names:
        if name not in BASES and name not in OF_DIRECTORY_BUCKETS:
            http = service.operation_model(name).http
            target = http["requestUri"].replace("{Bucket}", "photos").replace("{Key+}", "a")
            yield name, http["method"], target


def test_an_operation_that_is_not_here_is_refused(front: Front) -> None:
    for name, method, target in others():
        status, said, changed = front.send(Base(method, target))
        wanted = 404 if name in UNCONFIGURED else 200 if name in DEFAULTS else 501
        assert (status, changed) == (wanted, False), f"{name}: {said}"


def test_what_a_bucket_has_that_nobody_configured_can_be_read(front: Front) -> None:
    s3 = front.front.client()
    assert s3.get_bucket_request_payment(Bucket="photos")["Payer"] == "BucketOwner"
    for ask in (s3.get_bucket_versioning, s3.get_bucket_accelerate_configuration):
        assert "Status" not in ask(Bucket="photos")
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket="photos")
    assert s3.get_bucket_notification_configuration(Bucket="photos").keys() == {"ResponseMetadata"}
    assert front.send(Base("GET", "/no-such-bucket?logging"))[0] == 404


@pytest.mark.parametrize("operation", ["DeleteObjects", "CompleteMultipartUpload"])
def test_an_element_that_nobody_knows_is_refused(front: Front, operation: str) -> None:
    base = BASES[operation]
    name = "Delete" if operation == "DeleteObjects" else "CompleteMultipartUpload"
    body = base.body.replace(f"</{name}>", f"<New>true</New></{name}>")
    status, said, changed = front.send(base, "body", "", body)
    assert (status, changed) == (400, False), said
    assert "<Code>MalformedXML<" in said
