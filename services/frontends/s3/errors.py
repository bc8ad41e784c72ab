"""The errors of S3: code, status and message, and which code each of common/errors.py becomes.

SDKs match on the code and people read the message. An S3Error is raised if S3 has its own code for the
problem; `described` translates every other BlobkeepError.
"""

from __future__ import annotations

from typing import NamedTuple

from common import errors
from services.frontends import statuses
from services.rules.answers import Fields

# Statuses by code.
STATUS = {
    "AccessDenied": 403,
    "AuthorizationHeaderMalformed": 400,
    "AuthorizationQueryParametersError": 400,
    "BadDigest": 400,
    "BucketAlreadyExists": 409,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "ConditionalRequestConflict": 409,
    "EntityTooLarge": 400,
    "EntityTooSmall": 400,
    "IllegalLocationConstraintException": 400,
    "IncompleteBody": 400,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidArgument": 400,
    "InvalidBucketName": 400,
    "InvalidDigest": 400,
    "InvalidPart": 400,
    "InvalidPartNumber": 416,
    "InvalidPartOrder": 400,
    "InvalidRange": 416,
    "InvalidChunkSizeError": 403,
    "InvalidRequest": 400,
    "InvalidStorageClass": 400,
    "InvalidToken": 400,
    "InvalidURI": 400,
    "KeyTooLongError": 400,
    "MalformedTrailerError": 400,
    "MalformedXML": 400,
    "MetadataTooLarge": 400,
    "MethodNotAllowed": 405,
    "MissingContentLength": 411,
    "NoSuchBucket": 404,
    "NoSuchBucketPolicy": 404,
    "NoSuchCORSConfiguration": 404,
    "NoSuchKey": 404,
    "NoSuchLifecycleConfiguration": 404,
    "NoSuchPublicAccessBlockConfiguration": 404,
    "NoSuchTagSet": 404,
    "NoSuchUpload": 404,
    "NoSuchVersion": 404,
    "NoSuchWebsiteConfiguration": 404,
    "NotImplemented": 501,
    "ObjectLockConfigurationNotFoundError": 404,
    "OwnershipControlsNotFoundError": 404,
    "PreconditionFailed": 412,
    "ReplicationConfigurationNotFoundError": 404,
    "RequestTimeTooSkewed": 403,
    "ServerSideEncryptionConfigurationNotFoundError": 404,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
    "InsufficientStorage": 507,
    "XAmzContentSHA256Mismatch": 400,
    "XAmzContentChecksumMismatch": 400,
}


class S3Error(errors.BlobkeepError):
    """An error with a code of S3. `details`: further elements of the answer, such as the region to use."""

    def __init__(self, code: str, text: str, **details: str) -> None:
        super().__init__(text)
        self.code = code
        self.status = STATUS[code]
        self.details = details


class Described(NamedTuple):
    """An error as it is answered. `retry_after_s`: None if the same request would fail again."""

    code: str
    status: int
    text: str
    details: dict[str, str]
    retry_after_s: int | None = None


# The code of each class of common/errors.py; the first class in an error's ancestry that is listed decides.
_CODES: dict[type[errors.BlobkeepError], str] = {
    errors.BadRequest: "InvalidRequest",
    errors.BadLocation: "InvalidURI",
    errors.Unauthorized: "AccessDenied",
    errors.Forbidden: "AccessDenied",
    errors.Misdirected: "AccessDenied",
    errors.NotFound: "NoSuchKey",
    errors.UnknownUpload: "NoSuchUpload",
    errors.PartsChanged: "InvalidPart",
    errors.AlreadyExists: "PreconditionFailed",
    errors.PreconditionFailed: "PreconditionFailed",
    errors.TooLarge: "EntityTooLarge",
    errors.RangeNotSatisfiable: "InvalidRange",
    errors.Busy: "SlowDown",
    errors.Unavailable: "ServiceUnavailable",
    errors.NoSpace: "InsufficientStorage",
    errors.BlobkeepError: "InternalError",
}
UNEXPECTED = Described("InternalError", 500, statuses.UNEXPECTED, {})


def described(err: errors.BlobkeepError) -> Described:
    """How `err` is answered."""
    if isinstance(err, S3Error):
        retry = statuses.RETRY_AFTER_S if err.status == 503 else None
        return Described(err.code, err.status, str(err), err.details, retry)
    code = next(_CODES[kind] for kind in type(err).__mro__ if kind in _CODES)
    return Described(code, STATUS[code], str(err), {}, statuses.retry_after_s(err))


def fields_of(told: Described) -> Fields:
    """The header fields of an error's answer, without those that describe its body."""
    fields = []
    if told.retry_after_s is not None:
        fields.append(("Retry-After", str(told.retry_after_s)))
    if "Region" in told.details:
        fields.append(("x-amz-bucket-region", told.details["Region"]))
    return fields


def not_implemented(what: str, advice: str = ": leave it out") -> S3Error:
    """For a feature that is refused instead of ignored. `what` begins the sentence, `advice` ends it."""
    return S3Error("NotImplemented", f"{what} is not implemented here{advice}.")
