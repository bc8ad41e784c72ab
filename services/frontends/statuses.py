"""The table of HTTP statuses for errors. Each front end decides how an error looks on the wire.

Only S3 has its own statuses, since its protocol has one for each of its codes (s3/errors.py).
"""

from __future__ import annotations

from common import errors

# The first class in an error's own ancestry that is listed decides.
STATUS: dict[type[errors.BlobkeepError], int] = {
    errors.BadRequest: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.AlreadyExists: 409,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.RangeNotSatisfiable: 416,
    errors.Misdirected: 421,
    errors.Damaged: 500,
    errors.BlobkeepError: 500,
    errors.Busy: 503,
    errors.Unavailable: 503,
    errors.NoSpace: 507,
}
UNEXPECTED = "The server met an error that it did not expect: see its log."
RETRY_AFTER_S = 5  # a pass of the gc: what is busy or full now may not be then


def status_of(err: errors.BlobkeepError) -> int:
    """The status that answers `err`."""
    return next(STATUS[kind] for kind in type(err).__mro__ if kind in STATUS)


def retry_after_s(err: errors.BlobkeepError) -> int | None:
    """When the same request may succeed, in seconds; None if it would fail again."""
    reclaiming = isinstance(err, errors.NoIdLeft) and err.reclaiming
    return RETRY_AFTER_S if reclaiming or status_of(err) == 503 else None
