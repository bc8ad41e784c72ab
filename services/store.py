"""What the HTTP handlers know of storage: an interface without paths, locks or syncs in any signature.

The local directory implements it (`services/local`); an engine across machines may, too. All of it is used
from the event loop alone. Every error is one of common/errors.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec

from common.blob import Blob as Blob  # handlers know it from here
from common.checksum import Bytes

Condition = Callable[["Blob | None", bool], None]
"""Called with the location's current blob (None: it is not there) and whether it is damaged; raises what is
to be answered if the write must not go on. A store calls it before the body and again, in the one order of
the location's writes, right before the commit."""


class Event(msgspec.Struct, frozen=True):
    """One line of a blob's history."""

    time: str
    state: str
    message: str


class Description(msgspec.Struct, frozen=True):
    """Everything the state file says of a blob in any state. `history` is newest first.

    `size` (bytes), `etag` and `modified` (RFC 3339) are those of a complete blob, None of any other.
    """

    id: int
    location: str
    state: str
    seq: int
    size: int | None
    etag: str | None
    modified: str | None
    type: str
    encoding: str
    history: list[Event]


class Page(msgspec.Struct, frozen=True):
    """One page of a listing, sorted by code point. `next`: what to pass as `after`, None at the end."""

    blobs: list[Blob]
    prefixes: list[str]
    next: str | None


class Counts(msgspec.Struct, frozen=True):
    """How much is there. `ids_left` counts ids without a live blob; garbage may still hold some of them.

    `pending`: uploads that are on disk already; `failures`: what is in Failure and waits for the gc.
    """

    blobs: int
    bytes: int
    damaged: int
    uploads: int
    ids_left: int
    ids: int
    pending: int
    pending_bytes: int
    failures: int
    failure_bytes: int


class DamagedBlob(msgspec.Struct, frozen=True):
    """A location whose blob is damaged. `quarantine`: the name of its folder there, None while on its way."""

    location: str
    id: int
    reason: str
    quarantine: str | None


class Sink(Protocol):
    """Where the bytes of a reading go: a client that takes them as fast as it can."""

    def take(self, data: memoryview) -> int:
        """Take what goes now from the beginning of `data`, and keep no reference to it; how many bytes.

        0: nothing, until `ready`. Raises what tells that nobody takes anything any more.
        """
        ...

    async def ready(self) -> None:
        """Wait until it takes more. Raises as `take`."""
        ...


class Reading(Protocol):
    """An open blob: reads the bytes it had when it was opened, to the end, whatever happens to the name."""

    @property
    def blob(self) -> Blob: ...

    def chunks(self, first: int, last: int) -> AsyncIterator[Bytes]:
        """The bytes first..last (inclusive, 0-based) in pieces, each verified before it is yielded.

        Raises Damaged at the first piece whose checksum is wrong. A piece is valid until the next one.
        """
        ...

    async def pour(self, first: int, last: int, sink: Sink) -> None:
        """The same bytes into `sink`, each verified before it is taken. For the many and the slow: memory is
        held only while the sink takes something. Raises Damaged, and what the sink raises.
        """
        ...

    def close(self) -> None:
        """Give back what is held. Idempotent."""
        ...


class Upload(Protocol):
    """The bytes of one blob on their way in. Exactly one of `commit` and `abort` must end it."""

    async def write(self, data: Bytes) -> None:
        """Take the next bytes. Raises NoSpace, TooLarge, StorageFailed; then only `abort` is left to do."""
        ...

    async def sha256(self) -> bytes:
        """SHA-256 of all bytes so far (32 bytes), to compare with a digest that the client sent."""
        ...

    async def commit(self) -> tuple[Blob, bool]:
        """Make it the location's blob. Returns it, and whether it replaced another, once that is durable.

        Raises what the condition raises, NoSpace, NoIdLeft, SyncFailed; the upload is then aborted.
        """
        ...

    async def abort(self, reason: str) -> None:
        """Forget it: nothing becomes visible. Idempotent, and without effect once `commit` has begun."""
        ...


class Store(Protocol):
    """Named blobs. See the module docstring."""

    def find(self, location: str) -> Blob | None:
        """The blob, from memory; None where there is none. Raises Damaged."""
        ...

    def at_hand(self, location: str) -> tuple[Blob, bytes] | None:
        """The blob and all its bytes, verified, where that takes no waiting: for small blobs that are hot.

        None says nothing: `find` and `open` do.
        """
        ...

    async def open(self, location: str) -> Reading:
        """Open it for reading. Raises NotFound, Damaged."""
        ...

    def admit(self, location: str, condition: Condition, size: int | None) -> None:
        """Raise what `begin` would raise, without beginning: to refuse an upload before its body is sent."""
        ...

    async def begin(
        self, location: str, condition: Condition, media_type: str, encoding: str, size: int | None
    ) -> Upload:
        """Begin an upload. `size`: the declared length in bytes, None if unknown.

        Raises what `condition` raises, TooLarge, NoSpace, Busy.
        """
        ...

    async def write_whole(
        self, location: str, condition: Condition, media_type: str, encoding: str, body: bytes
    ) -> tuple[Blob, bool]:
        """An upload in one step, of a body that is small and whole. Returns and raises what `begin` and
        Upload.commit do."""
        ...

    async def delete(self, location: str, condition: Condition) -> None:
        """Delete it; returns once that is durable. Raises NotFound, what `condition` raises, SyncFailed."""
        ...

    def page(self, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """A page of what starts with `prefix` and is greater than `after`. `delimiter`: "" or "/"."""
        ...

    async def list_by_id(self, state: str | None, after: int, limit: int) -> list[Description]:
        """Blobs in any state with ids greater than `after`, by id; with `state`, those in that state.

        What cannot be read is left out. Reads the states of the page, and no others that memory knows of.
        """
        ...

    async def describe(self, blob_id: int) -> Description:
        """The state and history of one blob in any state. Raises NotFound, Damaged."""
        ...

    def counts(self) -> Counts:
        """How much is there, from memory."""
        ...

    def damaged_blobs(self, limit: int) -> list[DamagedBlob]:
        """The first of the locations that answer 500 until they are written or deleted anew."""
        ...

    async def check_writable(self) -> None:
        """Raise NoSpace or StorageFailed where a write would be refused now."""
        ...
