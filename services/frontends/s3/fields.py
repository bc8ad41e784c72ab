"""Which header fields each operation takes. Pure.

A client believes that a field took effect if the request was not refused. So an `x-amz-` field that is in
none of these tables is refused, and so is a condition of a write that does not judge it.
tests/s3/test_parameters.py compares the tables with all fields that the SDKs know.
"""

from __future__ import annotations

from collections.abc import Mapping

from services.frontends.s3.checksums import ALGORITHMS, FULL_OBJECT, HEADER, algorithm
from services.frontends.s3.errors import S3Error, not_implemented
from services.frontends.s3.names import OWNER_ID

_META = "x-amz-meta-"
# What the signature, the framing of the body, or a log says. `x-amz-acl` is judged by stubs.check_acl. Older
# SDKs for Java send `x-amz-te` with each read; the answer tells whether it was done. CDNs add the last three.
_FREE = frozenset(
    f"x-amz-{name}"
    for name in (
        *("date", "content-sha256", "user-agent", "api-version", "decoded-content-length", "trailer"),
        *("algorithm", "credential", "expires", "signedheaders", "signature", "acl"),
        *("sdk-checksum-algorithm", "te", "cf-id", "request-id", "id-2"),
    )
)
# The values that change nothing, in any operation: there are no tags, locks, archives or paying clients.
_HARMLESS = {
    "x-amz-request-payer": ("requester",),
    "x-amz-tagging": ("",),
    "x-amz-tagging-directive": ("COPY", "REPLACE"),
    "x-amz-metadata-directive": ("COPY", "REPLACE"),  # of a copy in parts, whose metadata its beginning has
    "x-amz-object-annotation-directive": ("COPY", "EXCLUDE"),
    "x-amz-server-side-encryption-bucket-key-enabled": ("false",),
    "x-amz-bucket-object-lock-enabled": ("false",),
    "x-amz-bucket-namespace": ("global",),
    "x-amz-bypass-governance-retention": ("true", "false"),
    "x-amz-optional-object-attributes": ("RestoreStatus",),
    "x-amz-checksum-mode": ("ENABLED",),  # where bytes are sent, it is honoured
}
_OWNERS = ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner")
_JUDGED = ("x-amz-storage-class", "x-amz-security-token", *_OWNERS)

_ALGORITHM, _TYPE = HEADER + "algorithm", HEADER + "type"
_OF_BODY = frozenset({_ALGORITHM}).union(one.header for one in ALGORITHMS.values())
_OF_SOURCE = frozenset(
    f"x-amz-copy-source{name}"
    for name in ("", "-if-match", "-if-none-match", "-if-modified-since", "-if-unmodified-since")
)
# By operation: its own fields.
_OWN: dict[str, frozenset[str]] = {
    "CreateBucket": _OF_BODY,
    "PutAcl": _OF_BODY,
    "DeleteObjects": _OF_BODY,
    "PutObject": _OF_BODY | {_TYPE},
    "UploadPart": _OF_BODY,
    "CopyObject": _OF_SOURCE | {"x-amz-metadata-directive", _ALGORITHM},
    "UploadPartCopy": _OF_SOURCE | {"x-amz-copy-source-range"},
    "CreateMultipartUpload": frozenset({_ALGORITHM, _TYPE}),
    "CompleteMultipartUpload": _OF_BODY | {_TYPE, "x-amz-mp-object-size"},
    "GetObjectAttributes": frozenset(
        f"x-amz-{name}" for name in ("object-attributes", "max-parts", "part-number-marker")
    ),
}

# Conditions of the operations that change something. Those that only read judge all, or lose nothing by it.
_CONDITIONS = ("if-match", "if-none-match", "if-unmodified-since", "if-modified-since")
_CONDITIONAL = ("PutObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject")
# S3 has digests of its own: these of HTTP would not be compared.
_DIGESTS = ("digest", "content-digest", "repr-digest")
_NOT_OF_WRITES = ("if-modified-since", "content-range", *_DIGESTS)


def is_judged(name: str) -> bool:
    """Whether this field may make a PutObject or an UploadPart another operation, or an unsupported one."""
    if name in _CONDITIONS or name in _NOT_OF_WRITES:
        return True
    return name.startswith("x-amz-") and not (name in _FREE or name in _OF_BODY or name.startswith(_META))


def check_fields(method: str, operation: str, fields: Mapping[str, str]) -> None:
    """Raise S3Error for a field that the operation does not take. `fields`: by lower-case name."""
    own = _OWN.get(operation, frozenset())
    writes = method not in ("GET", "HEAD")
    for name, value in fields.items():
        if name.startswith("x-amz-"):
            if name not in _FREE and name not in own and not name.startswith(_META):
                _judge(name, value)
        elif writes and (name in _NOT_OF_WRITES or (name in _CONDITIONS and operation not in _CONDITIONAL)):
            raise not_implemented(f"The header {name} of {operation}")
    if operation == "PutObject" and fields.get(_TYPE, FULL_OBJECT).upper() != FULL_OBJECT:
        raise S3Error("InvalidRequest", f"The checksum of an object in one piece is of type {FULL_OBJECT}.")


def _judge(name: str, value: str) -> None:
    if name == "x-amz-storage-class":
        if value != "STANDARD":
            raise S3Error("InvalidStorageClass", "The only storage class here is STANDARD.")
    elif name in _OWNERS:
        if value != OWNER_ID:
            raise S3Error("AccessDenied", f"{name} is not the owner of the buckets here, {OWNER_ID!r}.")
    elif name == "x-amz-security-token":
        raise S3Error("InvalidToken", "There are no temporary credentials here.")
    elif value.lower() not in (known.lower() for known in _HARMLESS.get(name, ())):
        if name.startswith(HEADER) and name not in _OF_BODY | {_TYPE}:
            algorithm(name.removeprefix(HEADER))  # names those that there are
        raise not_implemented(f"The header {name}")
