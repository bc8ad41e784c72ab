"""When a file of a repository may be stored, and what a request may not ask. Pure."""

from __future__ import annotations

from collections.abc import Callable, Container

from common.errors import AlreadyExists, BadRequest, Forbidden
from services.frontends.restic.names import Named
from services.rules.uploads import DIGEST_FIELDS
from services.store import Blob, Condition

_NOT_OF_WRITES = (
    *("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Content-Range"),
    *DIGEST_FIELDS,
)


def refuse_unjudged(headers: Container[str]) -> None:
    """Raise BadRequest for a field of a write that the protocol has not: it would not count.

    A config has no name that proves its bytes, so a part of one would be stored as the whole.
    """
    for name in _NOT_OF_WRITES:
        if name in headers:
            raise BadRequest(f"restic's protocol has no {name} of a write: leave it out.")


def upload_condition(named: Named, check_update: Callable[[], None]) -> Condition:
    """The condition of an upload. It raises AlreadyExists if the same bytes are there, Forbidden if others.

    A damaged file may be replaced, since its name proves the bytes. A config has no such name, so it takes a
    client that may replace one: `check_update` raises for others.
    """

    def judge(blob: Blob | None, damaged: bool) -> None:
        if damaged and not named.sha256:
            check_update()
        if blob is None:
            return
        if named.sha256 and blob.sha256.hex() == named.sha256:
            raise AlreadyExists("The same bytes are there.")
        raise Forbidden("It is there already, with other bytes: delete it first.")

    return judge
