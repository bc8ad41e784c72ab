"""What each parameter of S3 does here, with a value that tells: see test_parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

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
