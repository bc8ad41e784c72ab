"""Which HTTP status each error becomes, and the JSON that a client gets: the one place that knows both."""

from __future__ import annotations

import msgspec

from common import errors
from services.rules.ranges import unsatisfied_range

# Most specific first is not needed: the first class in an error's own ancestry that is listed decides.
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
# RFC 9110, section 11.6.1: a line each, since few clients find the second challenge of one line.
CHALLENGES = [
    ("WWW-Authenticate", 'Basic realm="Blobkeep", charset="UTF-8"'),
    ("WWW-Authenticate", 'Bearer realm="Blobkeep"'),
]
UNEXPECTED = "The server met an error that it did not expect: see its log."
RETRY_AFTER_S = 5  # a pass of the gc: what is busy or full now may not be then


def status_of(err: errors.BlobkeepError) -> int:
    """The status that answers `err`."""
    return next(STATUS[kind] for kind in type(err).__mro__ if kind in STATUS)


def headers_of(err: errors.BlobkeepError, *, by_script: bool = False) -> list[tuple[str, str]]:
    """Header fields that the answer to `err` carries besides its type and length, some more than once.

    `by_script`: the dashboard asks; for the Basic challenge its browser would open a window of its own.
    """
    if isinstance(err, errors.Unauthorized):
        return CHALLENGES[1:] if by_script else CHALLENGES
    if isinstance(err, errors.RangeNotSatisfiable):
        return [("Content-Range", unsatisfied_range(err.size))]
    reclaiming = isinstance(err, errors.NoIdLeft) and err.reclaiming
    return (
        [("Retry-After", str(RETRY_AFTER_S))]
        if reclaiming or isinstance(err, errors.Busy | errors.Unavailable)
        else []
    )


def to_json(value: object) -> bytes:
    """`value` as JSON, ended by a newline for whoever reads it with curl."""
    return msgspec.json.encode(value) + b"\n"  # a page of 10,000 blobs in 2 ms; json takes 20
