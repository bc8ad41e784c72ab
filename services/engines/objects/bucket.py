"""The interface to an object store: only what the engine needs, with the errors of its requests.

`client.py` implements it for a real store. The model test has an implementation that it explores step by step
(tests/objects/).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from common.checksum import Bytes


class Refused(Exception):
    """A conditional write was answered with 412 or 409. It may have been applied all the same."""


class Unclear(Exception):
    """A conditional write got an error or no answer: it was applied, or not, or will be."""


class Got(NamedTuple):
    """The answer to a GET. `size`: of the whole object, in bytes; `data` may be a part of it."""

    data: Bytes
    etag: str
    size: int


class Listed(NamedTuple):
    """One object of a LIST. `modified_ns`: by the store's clock, to the second."""

    key: str
    size: int
    etag: str
    modified_ns: int


class ListPage(NamedTuple):
    """What one LIST found. `more`: there may be others behind the last."""

    found: Sequence[Listed]
    more: bool


class Absent:
    """As the condition of a write: there must be no such object."""


ABSENT = Absent()
When = Absent | str | None
"""The condition of a write: ABSENT, the ETag that the object must have, or None for any."""


class Unchanged:
    """As the answer to a GET: the object has the ETag that was named, and its bytes were not sent."""


UNCHANGED = Unchanged()


class Bucket(Protocol):
    """One prefix of one bucket. All methods raise Unavailable if the store gives no usable answer.

    Requests that may be repeated are repeated until their time is over. A conditional write is sent once.
    """

    async def get(self, key: str, first: int = 0, limit: int | None = None) -> Got | None:
        """Bytes from `first` on, at most `limit` of them; None if there is no such object."""
        ...

    async def get_changed(self, key: str, etag: str) -> Got | Unchanged | None:
        """The whole object, or UNCHANGED if it has this ETag. A store may send that one, too."""
        ...

    async def put(self, key: str, data: Bytes, when: When) -> str:
        """Write the whole object and return its ETag. Raises Refused or Unclear if `when` is a condition."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove these objects; those that are not there are no error."""
        ...

    async def list(self, folder: str, after: str) -> ListPage:
        """The first objects whose keys begin with `folder`, which ends in "/", and are greater than `after`.

        In the order of their keys. `after` "": from the beginning.
        """
        ...


async def pages(bucket: Bucket, folder: str, after: str = "") -> AsyncIterator[Sequence[Listed]]:
    """All of them, page by page."""
    more = True
    while more:
        found, more = await bucket.list(folder, after)
        if not found:
            return
        yield found
        after = found[-1].key


async def starting_with(bucket: Bucket, folder: str, stem: str) -> AsyncIterator[Sequence[Listed]]:
    """All objects in `folder` whose keys begin with `stem`, page by page. Costs one LIST at least."""
    async for page in pages(bucket, folder, stem[:-1]):
        found = [listed for listed in page if listed.key.startswith(stem)]
        if found:
            yield found
        if len(found) < len(page):
            return


class Clock(Protocol):
    """The time, and waiting: the model test has its own."""

    def now_ns(self) -> int:
        """Unix time in nanoseconds."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    def new_txn(self) -> str:
        """A txn that was never used."""
        ...
