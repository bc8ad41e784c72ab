"""Decides from method, target, query and fields which operation a request is. Pure.

A request that is not in these tables gets 501: one with an unknown sub-resource, or with a field that would
change what a write means. If it were ignored, the client would believe that it took effect.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from services.frontends.s3.errors import S3Error, not_implemented
from services.frontends.s3.fields import check_fields
from services.frontends.s3.names import S3Target

# Parameters that any request may have: those of a signature, and what SDKs add for their own logs.
_ANYWHERE = frozenset({"x-id"})
_LIST = frozenset({"prefix", "delimiter", "encoding-type"})
_LIST_KEYS = _LIST | {"max-keys"}
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
        ("acl", "GetAcl", frozenset()),
        ("uploads", "ListMultipartUploads", _LIST | {"key-marker", "upload-id-marker", "max-uploads"}),
        ("versions", "ListObjectVersions", _LIST_KEYS | {"key-marker", "version-id-marker"}),
        *(
            (name, "NoConfiguration", frozenset[str]())
            for name in (
                *("policy", "cors", "lifecycle", "website", "tagging", "encryption", "replication"),
                *("object-lock", "ownershipControls", "policyStatus", "publicAccessBlock"),
            )
        ),
        *(
            (name, "DefaultConfiguration", frozenset[str]())
            for name in ("versioning", "accelerate", "logging", "notification", "requestPayment")
        ),
        # Version 2 of the list, and version 1: each without the parameters of the other.
        ("list-type", "ListObjects", _LIST_KEYS | {"continuation-token", "start-after", "fetch-owner"}),
        ("", "ListObjects", _LIST_KEYS | {"marker"}),
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

# Sub-resources that make a request another operation than it would be without them, and that is not here.
_OPERATIONS_ELSEWHERE = frozenset(
    (
        *("accelerate", "analytics", "cors", "encryption", "intelligent-tiering", "inventory", "legal-hold"),
        *("lifecycle", "logging", "metrics", "notification", "object-lock", "ownershipControls", "policy"),
        *("policyStatus", "publicAccessBlock", "replication", "requestPayment", "restore", "retention"),
        *("select", "tagging", "torrent", "versioning", "website"),
    )
)

# With a copy source these two take their bytes from another object.
_COPYING = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}


def decide(method: str, target: S3Target, names: Collection[str], fields: Mapping[str, str]) -> str:
    """The operation, as AWS calls it. `names`: of the query; `fields`: by lower-case name. Raises S3Error."""
    what = "object" if target.key else "bucket" if target.bucket else "service"
    routes = _ROUTES.get((method, what))
    if routes is None:
        if method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
            raise _no_operation(method, what, names)
        raise S3Error("MethodNotAllowed", "The specified method is not allowed against this resource.")
    for sub, operation, others in routes:
        if sub and sub not in names:
            continue
        extra = [
            name
            for name in names
            if name not in (sub, *_ANYWHERE) and name not in others and not name.lower().startswith("x-amz-")
        ]
        if not _OPERATIONS_ELSEWHERE.isdisjoint(extra):
            raise _no_operation(method, what, extra)
        if extra:
            raise not_implemented(f"The parameter {extra[0][:60]!r} of {operation}")
        if "x-amz-copy-source" in fields:
            operation = _COPYING.get(operation, operation)
        check_fields(method, operation, fields)
        return operation
    raise _no_operation(method, what, names)


def _no_operation(method: str, what: str, names: Collection[str]) -> S3Error:
    """For a request that is none of the operations here, whatever its parameters."""
    known = sorted(_OPERATIONS_ELSEWHERE.intersection(names)) or sorted(names)
    query = f" ?{'&'.join(known)[:60]}" if known else ""
    article = {"service": "the", "bucket": "a", "object": "an"}[what]
    return not_implemented(f"{method}{query} of {article} {what}", "")
