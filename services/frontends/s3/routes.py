"""Decides from method, target, query and fields which operation a request is. Pure.

A request that is not in these tables gets 501: one with an unknown sub-resource, or with a field that would
change what a write means. If it were ignored, the client would believe that it took effect.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from services.frontends.s3.checksums import ALGORITHMS, HEADER, algorithm
from services.frontends.s3.errors import S3Error, not_implemented
from services.frontends.s3.names import OWNER_ID, S3Target

# Parameters that any request may have: those of a signature, and what SDKs add for their own logs.
_ANYWHERE = frozenset({"x-id"})
_LIST = frozenset({"prefix", "delimiter", "encoding-type", "max-keys"})
_RESPONSE = frozenset(
    f"response-{name}"
    for name in (
        *("cache-control", "content-disposition", "content-encoding", "content-language", "content-type"),
        "expires",
    )
)

# (method, what the target is, the sub-resource in the query) to the operation and its other parameters.
# The first whose sub-resource is in the query decides; "" stands for none.
_ROUTES: dict[tuple[str, str], list[tuple[str, str, frozenset[str]]]] = {
    ("GET", "service"): [
        ("", "ListBuckets", frozenset({"prefix", "max-buckets", "continuation-token", "bucket-region"}))
    ],
    ("PUT", "bucket"): [
        ("acl", "PutAcl", frozenset()),
        ("", "CreateBucket", frozenset()),
    ],
    ("HEAD", "bucket"): [("", "HeadBucket", frozenset())],
    ("DELETE", "bucket"): [("", "DeleteBucket", frozenset())],
    ("POST", "bucket"): [("delete", "DeleteObjects", frozenset())],
    ("GET", "bucket"): [
        ("location", "GetBucketLocation", frozenset()),
        ("versioning", "GetBucketVersioning", frozenset()),
        ("acl", "GetAcl", frozenset()),
        ("uploads", "ListMultipartUploads", _LIST | {"key-marker", "upload-id-marker", "max-uploads"}),
        ("versions", "ListObjectVersions", _LIST | {"key-marker", "version-id-marker"}),
        *(
            (name, "NoConfiguration", frozenset[str]())
            for name in (
                *("policy", "cors", "lifecycle", "website", "tagging", "encryption", "replication"),
                *("object-lock", "ownershipControls"),
            )
        ),
        (
            "",
            "ListObjects",
            _LIST | {"marker", "list-type", "continuation-token", "start-after", "fetch-owner"},
        ),
    ],
    ("PUT", "object"): [
        ("uploadId", "UploadPart", frozenset({"partNumber"})),
        ("acl", "PutAcl", frozenset({"versionId"})),
        ("", "PutObject", frozenset()),
    ],
    ("GET", "object"): [
        ("uploadId", "ListParts", frozenset({"max-parts", "part-number-marker", "encoding-type"})),
        ("attributes", "GetObjectAttributes", frozenset({"versionId"})),
        ("acl", "GetAcl", frozenset({"versionId"})),
        ("tagging", "NoConfiguration", frozenset({"versionId"})),
        ("", "GetObject", _RESPONSE | {"versionId", "partNumber"}),
    ],
    ("HEAD", "object"): [("", "HeadObject", _RESPONSE | {"versionId", "partNumber"})],
    ("DELETE", "object"): [
        ("uploadId", "AbortMultipartUpload", frozenset()),
        ("", "DeleteObject", frozenset({"versionId"})),
    ],
    ("POST", "object"): [
        ("uploads", "CreateMultipartUpload", frozenset()),
        ("uploadId", "CompleteMultipartUpload", frozenset()),
    ],
}

# With a copy source these two take their bytes from another object.
_COPYING = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}

# Prefixes of fields that change what a write means, and are not supported.
_REFUSED_FIELDS = (
    "x-amz-object-lock-",
    "x-amz-bucket-object-lock-",
    "x-amz-server-side-encryption",
    "x-amz-copy-source-server-side-encryption",
    "x-amz-grant-",
    "x-amz-website-redirect-location",
    "x-amz-tagging",
    "x-amz-mfa",
    "x-amz-write-offset-bytes",
    "x-amz-object-ownership",
    "x-amz-restore",
    "x-amz-if-match-",
    "x-amz-copy-source-if-match-",
    "x-amz-object-if-match",
    "x-amz-rename-source",
)


# The account that must own the bucket, or the request has no effect.
_OWNER_FIELDS = frozenset({"x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"})
_JUDGED = frozenset({"x-amz-storage-class", "x-amz-security-token"}) | _OWNER_FIELDS
_CHECKSUMS = frozenset({HEADER + "algorithm", HEADER + "type", HEADER + "mode"}).union(
    one.header for one in ALGORITHMS.values()
)


def decide(method: str, target: S3Target, names: Collection[str], fields: Mapping[str, str]) -> str:
    """The operation, as AWS calls it. `names`: of the query; `fields`: by lower-case name. Raises S3Error."""
    what = "object" if target.key else "bucket" if target.bucket else "service"
    routes = _ROUTES.get((method, what))
    if routes is None:
        if method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
            raise not_implemented(f"{method} of a {what}")
        raise S3Error("MethodNotAllowed", "The specified method is not allowed against this resource.")
    for sub, operation, others in routes:
        if sub and sub not in names:
            continue
        extra = [
            name
            for name in names
            if name not in (sub, *_ANYWHERE) and name not in others and not name.lower().startswith("x-amz-")
        ]
        if extra:
            raise not_implemented(f"The parameter {extra[0][:60]!r} of {operation}")
        _check_fields(fields)
        return _COPYING.get(operation, operation) if "x-amz-copy-source" in fields else operation
    raise not_implemented(f"{method} of a {what} with {', '.join(sorted(names))[:60] or 'no parameter'}")


def is_judged(name: str) -> bool:
    """Whether this field may make a PutObject another operation, or an unsupported one."""
    return (
        name == "x-amz-copy-source"
        or name in _JUDGED
        or name.startswith(_REFUSED_FIELDS)
        or (name.startswith(HEADER) and name not in _CHECKSUMS)
    )


def _check_fields(fields: Mapping[str, str]) -> None:
    for name, value in fields.items():
        if not name.startswith("x-amz-"):
            continue
        if name.startswith(_REFUSED_FIELDS) and value.lower() != "false":
            raise not_implemented(f"The header {name}")
        if name == "x-amz-storage-class" and value != "STANDARD":
            raise S3Error("InvalidStorageClass", "The only storage class here is STANDARD.")
        if name.startswith(HEADER) and name not in _CHECKSUMS:  # the client would believe that it is compared
            algorithm(name.removeprefix(HEADER))
        if name in _OWNER_FIELDS and value != OWNER_ID:
            raise S3Error("AccessDenied", f"{name} is not the owner of the buckets here, {OWNER_ID!r}.")
        if name == "x-amz-security-token":
            raise S3Error("InvalidToken", "There are no temporary credentials here.")
