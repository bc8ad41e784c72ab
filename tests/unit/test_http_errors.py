"""Which status each error becomes, and what goes with it."""

from __future__ import annotations

import pytest

from common import errors
from services.frontends.native.errors import headers_of
from services.frontends.s3.errors import described
from services.frontends.statuses import status_of

AGAIN = [("Retry-After", "5")]


@pytest.mark.parametrize(
    ("err", "status", "fields"),
    [
        (errors.BadRequest(""), 400, []),
        (errors.BadLocation(""), 400, []),
        (errors.Forbidden(""), 403, []),
        (errors.NotFound(""), 404, []),
        (errors.AlreadyExists(""), 409, []),
        (errors.PreconditionFailed(""), 412, []),
        (errors.TooLarge(""), 413, []),
        (errors.RangeNotSatisfiable("", 7), 416, [("Content-Range", "bytes */7")]),
        (errors.Damaged(""), 500, []),
        (errors.StorageFailed(""), 500, []),
        (errors.SyncFailed(""), 500, []),
        (errors.Busy(""), 503, AGAIN),
        (errors.NoSpace(""), 507, []),
        (errors.NoIdLeft("", reclaiming=True), 507, AGAIN),
        (errors.NoIdLeft("", reclaiming=False), 507, []),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_becomes_its_status(
    err: errors.BlobkeepError, status: int, fields: list[tuple[str, str]]
) -> None:
    assert (status_of(err), headers_of(err)) == (status, fields)


def test_a_challenge_goes_with_a_401() -> None:
    err = errors.Unauthorized("")
    assert status_of(err) == 401
    assert {name for name, _ in headers_of(err)} == {"WWW-Authenticate"}


def subclasses(kind: type[errors.BlobkeepError]) -> list[type[errors.BlobkeepError]]:
    return [kind, *(one for child in kind.__subclasses__() for one in subclasses(child))]


def test_s3_has_a_status_of_its_own_only_where_its_protocol_says_so() -> None:
    of_protocol = {
        errors.Unauthorized: 403,  # AccessDenied
        errors.Misdirected: 403,
        errors.AlreadyExists: 412,  # of If-None-Match: *
        errors.TooLarge: 400,
        errors.PartsChanged: 400,
    }
    for kind in subclasses(errors.BlobkeepError):
        if kind.__module__ == errors.__name__:
            err = kind("", 7) if kind is errors.RangeNotSatisfiable else kind("")
            assert described(err).status == of_protocol.get(kind, status_of(err)), kind
