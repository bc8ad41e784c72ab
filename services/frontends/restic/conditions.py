"""When a file of a repository may be stored. Pure."""

from __future__ import annotations

from collections.abc import Callable

from common.errors import AlreadyExists, Forbidden
from services.frontends.restic.names import Named
from services.store import Blob, Condition


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
