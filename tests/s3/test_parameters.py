"""Every parameter that the SDKs know of the operations here is honoured, refused, or changes nothing.

The names come from botocore's description of S3. So a parameter that is new in it fails here until somebody
decides. Each is sent with a telling value, alone. The answer and what is stored are compared with those of
the same request without it.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple
from urllib.parse import quote

import botocore.session
import pytest

from services.frontends.s3.errors import STATUS
from services.frontends.s3.names import RECORD
from tests.s3.serving import SECRET, Served, served
from tests.s3.signing import signed_by_botocore

MIB = 1 << 20
PAST, FUTURE = "Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


class Base(NamedTuple):
    """A valid request of an operation. `{upload}` in the target is an upload with a part 1, a CRC-32 and no
    more; `{etag}` in the body is the tag of that part."""

    method: str
    target: str
    body: str = ""
    fields: tuple[tuple[str, str], ...] = ()


PART = "<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
SOURCE = ("x-amz-copy-source", "/photos/a")
BASES = {
    "ListBuckets": Base("GET", "/"),
    "CreateBucket": Base("PUT", "/new-one"),
    "HeadBucket": Base("HEAD", "/photos"),
    "DeleteBucket": Base("DELETE", "/empty"),
    "GetBucketLocation": Base("GET", "/photos?location"),
    "PutObject": Base("PUT", "/photos/a", "a new body"),
    "GetObject": Base("GET", "/photos/a"),
    "HeadObject": Base("HEAD", "/photos/a"),
    "DeleteObject": Base("DELETE", "/photos/a"),
    "DeleteObjects": Base("POST", "/photos?delete", "<Delete><Object><Key>a</Key></Object></Delete>"),
    "CopyObject": Base("PUT", "/photos/b", "", (SOURCE, ("x-amz-metadata-directive", "REPLACE"))),
    "GetObjectAttributes": Base(
        "GET", "/photos/parts?attributes", "", (("x-amz-object-attributes", "ObjectParts,ETag"),)
    ),
    "ListObjects": Base("GET", "/photos"),
    "ListObjectsV2": Base("GET", "/photos?list-type=2"),
    "ListObjectVersions": Base("GET", "/photos?versions"),
    "CreateMultipartUpload": Base("POST", "/photos/c?uploads"),
    "UploadPart": Base("PUT", "/photos/c?partNumber=2&uploadId={upload}", "a part"),
    "UploadPartCopy": Base("PUT", "/photos/c?partNumber=2&uploadId={upload}", "", (SOURCE,)),
    "CompleteMultipartUpload": Base(
        "POST",
        "/photos/c?uploadId={upload}",
        f"<CompleteMultipartUpload>{PART}</CompleteMultipartUpload>",
    ),
    "AbortMultipartUpload": Base("DELETE", "/photos/c?uploadId={upload}"),
    "ListParts": Base("GET", "/photos/c?uploadId={upload}"),
    "ListMultipartUploads": Base("GET", "/photos?uploads"),
    "GetBucketVersioning": Base("GET", "/photos?versioning"),
    "GetBucketAcl": Base("GET", "/photos?acl"),
    "GetObjectAcl": Base("GET", "/photos/a?acl"),
    "PutBucketAcl": Base("PUT", "/photos?acl"),
    "PutObjectAcl": Base("PUT", "/photos/a?acl"),
    "GetObjectTagging": Base("GET", "/photos/a?tagging"),
}


class Honoured(NamedTuple):
    """With `value` the answer, or what is stored, has `shown`, which it has not otherwise. A function tells
    it from both."""

    value: str
    shown: str | Callable[[str], bool]


class Refused(NamedTuple):
    """With `value` the request is refused with `code`, and changes nothing."""

    value: str
    code: str = "NotImplemented"


class Harmless(NamedTuple):
    """With `value` nothing differs, which is right, since `why`."""

    value: str
    why: str


Case = Honoured | Refused | Harmless
LISTS = ("ListObjects", "ListObjectsV2", "ListObjectVersions")


def without(text: str) -> Callable[[str], bool]:
    return lambda said: text not in said


# By the name of the field or parameter; where operations differ, by the operation as well.
CASES: dict[str, Case | dict[str, Case]] = {
    # --- who asks, and of whom ---
    "x-amz-expected-bucket-owner": Refused("somebody", "AccessDenied"),
    "x-amz-source-expected-bucket-owner": Refused("somebody", "AccessDenied"),
    "x-amz-request-payer": Harmless("requester", "nobody pays for a request here"),
    "x-amz-mfa": Refused("1 2"),
    # --- rights ---
    "x-amz-acl": Refused("public-read"),
    "x-amz-grant-full-control": Refused("id=x"),
    "x-amz-grant-read": Refused("id=x"),
    "x-amz-grant-read-acp": Refused("id=x"),
    "x-amz-grant-write": Refused("id=x"),
    "x-amz-grant-write-acp": Refused("id=x"),
    "x-amz-object-ownership": Refused("ObjectWriter"),
    "AccessControlPolicy": Refused("<AccessControlPolicy/>"),
    # --- locks ---
    "x-amz-bucket-object-lock-enabled": Refused("true"),
    "x-amz-object-lock-mode": Refused("GOVERNANCE"),
    "x-amz-object-lock-retain-until-date": Refused("2100-01-01T00:00:00Z"),
    "x-amz-object-lock-legal-hold": Refused("ON"),
    "x-amz-object-lock-event-hold": Refused("ON"),
    "x-amz-object-lock-event-hold-duration-days": Refused("7"),
    "x-amz-object-lock-event-hold-duration-years": Refused("7"),
    "x-amz-bypass-governance-retention": Harmless("true", "nothing is retained"),
    # --- what a bucket or an object is besides its bytes ---
    "x-amz-bucket-namespace": Refused("account-regional"),
    "x-amz-storage-class": Refused("GLACIER", "InvalidStorageClass"),
    "x-amz-website-redirect-location": Refused("/elsewhere"),
    "x-amz-tagging": Refused("a=b"),
    "x-amz-tagging-directive": Harmless("REPLACE", "no object has tags"),
    "x-amz-object-annotation-directive": Harmless("EXCLUDE", "no object has annotations"),
    "x-amz-optional-object-attributes": Harmless("RestoreStatus", "no object is archived"),
    "x-amz-server-side-encryption": Refused("AES256"),
    "x-amz-server-side-encryption-customer-algorithm": Refused("AES256"),
    "x-amz-server-side-encryption-customer-key": Refused("AAAA"),
    "x-amz-server-side-encryption-customer-key-MD5": Refused("AAAA"),
    "x-amz-server-side-encryption-aws-kms-key-id": Refused("a-key"),
    "x-amz-server-side-encryption-context": Refused("AAAA"),
    "x-amz-server-side-encryption-bucket-key-enabled": Refused("true"),
    "x-amz-copy-source-server-side-encryption-customer-algorithm": Refused("AES256"),
    "x-amz-copy-source-server-side-encryption-customer-key": Refused("AAAA"),
    "x-amz-copy-source-server-side-encryption-customer-key-MD5": Refused("AAAA"),
    "x-amz-write-offset-bytes": Refused("5"),
    # --- attributes ---
    "Cache-Control": Honoured("max-age=77", "max-age=77"),
    "Content-Disposition": Honoured("attachment; filename=x77", "filename=x77"),
    "Content-Encoding": Honoured("deflate", "deflate"),
    "Content-Language": Honoured("tlh", "tlh"),
    "Content-Type": Honoured("text/x77", "text/x77"),
    "Expires": Honoured(FUTURE, FUTURE),
    "x-amz-meta-": Honoured("v77", "v77"),
    "x-amz-metadata-directive": Refused("OTHER", "InvalidArgument"),
    # --- digests of what is sent ---
    "Content-MD5": Refused("AAAAAAAAAAAAAAAAAAAAAA==", "BadDigest"),
    "x-amz-sdk-checksum-algorithm": {
        "PutObject": Honoured("SHA1", ".s3-checksum-sha1"),
        "UploadPart": Refused("SHA1", "InvalidRequest"),  # than the upload's
        "DeleteObjects": Refused("ADLER", "InvalidRequest"),
        "PutObjectAcl": Refused("ADLER", "InvalidRequest"),
        "PutBucketAcl": Refused("ADLER", "InvalidRequest"),
    },
    "x-amz-checksum-crc32": Refused("AAAAAA==", "BadDigest"),
    "x-amz-checksum-crc32c": {
        "PutObject": Refused("AAAAAA==", "BadDigest"),
        "UploadPart": Refused("AAAAAA==", "InvalidRequest"),
        "CompleteMultipartUpload": Refused("AAAAAA==", "InvalidRequest"),
    },
    "x-amz-checksum-crc64nvme": {
        "PutObject": Refused("AAAAAAAAAAA=", "BadDigest"),
        "UploadPart": Refused("AAAAAAAAAAA=", "InvalidRequest"),
        "CompleteMultipartUpload": Refused("AAAAAAAAAAA=", "InvalidRequest"),
    },
    "x-amz-checksum-sha1": {
        "PutObject": Refused(f"{'A' * 27}=", "BadDigest"),
        "UploadPart": Refused(f"{'A' * 27}=", "InvalidRequest"),
        "CompleteMultipartUpload": Refused(f"{'A' * 27}=", "InvalidRequest"),
    },
    "x-amz-checksum-sha256": {
        "PutObject": Refused(f"{'A' * 43}=", "BadDigest"),
        "UploadPart": Refused(f"{'A' * 43}=", "InvalidRequest"),
        "CompleteMultipartUpload": Refused(f"{'A' * 43}=", "InvalidRequest"),
    },
    **{
        f"x-amz-checksum-{name}": Refused("AAAA", "InvalidRequest")
        for name in ("sha512", "md5", "xxhash64", "xxhash3", "xxhash128")
    },
    "x-amz-checksum-algorithm": {
        "CopyObject": Honoured("SHA1", "<ChecksumSHA1>"),
        "CreateMultipartUpload": Honoured("SHA1", "x-amz-checksum-algorithm: SHA1"),
    },
    "x-amz-checksum-type": Refused("FULL_OBJECT", "InvalidRequest"),  # the upload has none, or another
    "x-amz-mp-object-size": Refused("1", "InvalidRequest"),
    "x-amz-checksum-mode": Honoured("ENABLED", "x-amz-checksum-crc32c: "),
    # --- conditions ---
    "If-Match": Refused('"0"', "PreconditionFailed"),
    "If-None-Match": {
        "GetObject": Honoured("*", "status: 304"),
        "HeadObject": Honoured("*", "status: 304"),
        "PutObject": Refused("*", "PreconditionFailed"),
        "CopyObject": Refused("*", "PreconditionFailed"),
        "CompleteMultipartUpload": Refused("*", "PreconditionFailed"),
    },
    "If-Modified-Since": Honoured(FUTURE, "status: 304"),
    "If-Unmodified-Since": Refused(PAST, "PreconditionFailed"),
    "x-amz-copy-source-if-match": Refused('"0"', "PreconditionFailed"),
    "x-amz-copy-source-if-none-match": Refused("*", "PreconditionFailed"),
    "x-amz-copy-source-if-modified-since": Refused(FUTURE, "PreconditionFailed"),
    "x-amz-copy-source-if-unmodified-since": Refused(PAST, "PreconditionFailed"),
    "x-amz-if-match-last-modified-time": Refused(PAST),
    "x-amz-if-match-size": Refused("1"),
    "x-amz-if-match-initiated-time": Refused(PAST),
    # --- which bytes, and how they are answered ---
    "Range": Honoured("bytes=1-2", "status: 206"),
    "partNumber": {
        "GetObject": Refused("2", "InvalidPart"),
        "HeadObject": Refused("2", "InvalidPart"),
        "UploadPart": Refused("0", "InvalidArgument"),
        "UploadPartCopy": Refused("0", "InvalidArgument"),
    },
    "versionId": Refused("a-version", "NoSuchVersion"),
    "response-cache-control": Honoured("max-age=77", "cache-control: max-age=77"),
    "response-content-disposition": Honoured("attachment", "content-disposition: attachment"),
    "response-content-encoding": Honoured("br", "content-encoding: br"),
    "response-content-language": Honoured("tlh", "content-language: tlh"),
    "response-content-type": Honoured("text/x77", "content-type: text/x77"),
    "response-expires": Honoured("Never", "expires: Never"),
    "x-amz-copy-source": Refused("/photos/missing", "NoSuchKey"),
    "x-amz-copy-source-range": Refused("bytes=0-99", "InvalidRange"),
    "uploadId": Refused("an-upload", "NoSuchUpload"),
    # --- lists ---
    "prefix": {
        "ListBuckets": Honoured("zz", without("<Name>photos<")),
        "ListMultipartUploads": Honoured("zz", without("<Key>c<")),
        **dict.fromkeys(LISTS, Honoured("zz", without("<Key>a<"))),
    },
    "delimiter": {
        "ListMultipartUploads": Honoured("r", "<Prefix>dir<"),
        **dict.fromkeys(LISTS, Honoured("r", "<Prefix>par<")),
    },
    "encoding-type": Refused("other", "InvalidArgument"),
    "max-keys": Honoured("1", "<IsTruncated>true<"),
    "max-uploads": Honoured("1", "<IsTruncated>true<"),
    "max-parts": Honoured("1", "<MaxParts>1<"),
    "max-buckets": Honoured("1", "<ContinuationToken>"),
    "marker": Honoured("a", without("<Key>a</Key>")),
    "key-marker": Honoured("zz", without("<Key>")),
    "start-after": Honoured("a", without("<Key>a</Key>")),
    "continuation-token": {
        "ListBuckets": Honoured("zz", without("<Name>photos<")),
        "ListObjectsV2": Honoured("enp6", without("<Key>")),  # of zz
    },
    "fetch-owner": Honoured("true", "<Owner>"),
    "part-number-marker": Honoured("1", without("<PartNumber>1<")),
    "version-id-marker": Honoured("null", "<VersionIdMarker>null<"),  # a key has only one version
    "upload-id-marker": Honoured("an-upload", "<UploadIdMarker>an-upload<"),  # of the key of key-marker
    "bucket-region": Honoured("another", without("<Name>photos</Name>")),
    "x-amz-object-attributes": Refused("Other", "InvalidArgument"),
    "x-amz-max-parts": Honoured("1", "<IsTruncated>true<"),
    "x-amz-part-number-marker": Honoured("1", without("<PartNumber>1<")),
    # --- bodies: the value is the whole one ---
    "CreateBucketConfiguration": {
        name: Refused(f"<CreateBucketConfiguration>{inner}</CreateBucketConfiguration>", code)
        for name, inner, code in (
            (
                "LocationConstraint",
                "<LocationConstraint>eu-west-1</LocationConstraint>",
                "IllegalLocationConstraintException",
            ),
            ("Location", "<Location><Name>x</Name></Location>", "NotImplemented"),
            ("Bucket", "<Bucket><Type>Directory</Type></Bucket>", "NotImplemented"),
            ("Tags", "<Tags><Tag><Key>a</Key></Tag></Tags>", "NotImplemented"),
        )
    },
    "Delete": {
        "Quiet": Honoured(
            "<Delete><Quiet>true</Quiet><Object><Key>a</Key></Object></Delete>", without("<Deleted>")
        ),
        **{
            name: Honoured(f"<Delete><Object><Key>{key}</Key>{inner}</Object></Delete>", shown)
            for name, key, inner, shown in (
                ("Key", "parts", "", "<Deleted><Key>parts"),
                ("VersionId", "a", "<VersionId>v</VersionId>", "<Code>NoSuchVersion"),
                ("ETag", "a", "<ETag>0</ETag>", "<Code>PreconditionFailed"),
                (
                    "LastModifiedTime",
                    "a",
                    f"<LastModifiedTime>{PAST}</LastModifiedTime>",
                    "<Code>NotImplemented",
                ),
                ("Size", "a", "<Size>1</Size>", "<Code>NotImplemented"),
            )
        },
    },
    "CompleteMultipartUpload": {
        name: Refused(f"<CompleteMultipartUpload><Part>{inner}</Part></CompleteMultipartUpload>", code)
        for name, inner, code in (
            ("PartNumber", "<PartNumber>7</PartNumber><ETag>{etag}</ETag>", "InvalidPart"),
            ("ETag", "<PartNumber>1</PartNumber><ETag>0</ETag>", "InvalidPart"),
            *(
                (
                    f"Checksum{sum_}",
                    f"<PartNumber>1</PartNumber><ETag>{{etag}}</ETag><Checksum{sum_}>AAAAAA==</Checksum{sum_}>",
                    code,
                )
                for sum_, code in (
                    *((known, "InvalidPart") for known in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")),
                    *(
                        (one, "InvalidRequest")
                        for one in ("SHA512", "MD5", "XXHASH64", "XXHASH3", "XXHASH128")
                    ),
                )
            ),
        )
    },
}
# What every request with a body has, and botocore makes of it.
FRAMING = {"Content-Length", "Body"}


def known() -> Iterator[tuple[str, str, str, str]]:
    """(operation, where, name, name of a member of a body) of all that botocore knows."""
    service = botocore.session.get_session().get_service_model("s3")
    for operation in BASES:
        for name, member in service.operation_model(operation).input_shape.members.items():
            where = member.serialization.get("location", "body")
            wire = member.serialization.get("name", name)
            if where == "uri" or wire in FRAMING:
                continue
            if where != "body" or name == "AccessControlPolicy":
                yield operation, where, wire, ""
                continue
            for inner in members_of(member):
                yield operation, where, wire, inner


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


@pytest.mark.parametrize(("operation", "where", "name", "inner"), known())
def test_a_parameter_is_honoured_or_refused(
    front: Front, operation: str, where: str, name: str, inner: str
) -> None:
    case = case_of(operation, name, inner)
    status, text, changed = front.send(BASES[operation], where, name, case.value)
    usual_status, usual, _ = front.send(BASES[operation])
    assert usual_status < 300, usual
    if isinstance(case, Refused):
        assert status == STATUS[case.code], text
        assert not changed
        assert BASES[operation].method == "HEAD" or f"<Code>{case.code}<" in text
    elif isinstance(case, Harmless):
        assert text == usual
    else:
        assert status < 400, text
        shows = case.shown if callable(case.shown) else lambda said: case.shown in said
        assert shows(text)
        assert not shows(usual)


def test_all_that_is_known_was_judged() -> None:
    """And no case is of a parameter that there is not."""
    assert {name for _, _, name, _ in known()} == CASES.keys()


@pytest.mark.parametrize("operation", BASES)
@pytest.mark.parametrize("where", ["header", "querystring"])
def test_what_nobody_knows_is_refused(front: Front, operation: str, where: str) -> None:
    name = "x-amz-new" if where == "header" else "new"
    status, _, changed = front.send(BASES[operation], where, name, "true")
    assert (status, changed) == (501, False)


CONDITIONS = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
WRITES = [name for name, base in BASES.items() if base.method not in ("GET", "HEAD")]


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("operation", WRITES)
def test_a_condition_of_a_write_that_does_not_hold_prevents_it(
    front: Front, operation: str, name: str
) -> None:
    """Whether it is judged, or refused since it is not."""
    value = {"If-Match": '"0"', "If-None-Match": "*"}.get(name, PAST)
    if name == "If-Modified-Since":
        value = FUTURE
    status, said, changed = front.send(BASES[operation], "header", name, value)
    assert (status in (412, 501), changed) == (True, False), said


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
