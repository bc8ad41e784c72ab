"""Which status each error becomes, and what goes with it."""

from __future__ import annotations

import pytest

from common import errors
from services.frontends.native.errors import headers_of, status_of

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
