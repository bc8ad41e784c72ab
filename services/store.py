"""What front ends know of storage: an interface without paths, locks or syncs in any signature.

Each engine implements it (docs/architecture.md). All of it is used from the event loop alone. Every error is
one of common/errors.py; any method that has to ask the engine may raise Unavailable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import msgspec

from common.checksum import Bytes
from common.transfer import LentRoom, Sink


class Blob(Protocol):
    """One complete blob, as it is served. Each engine has a class of its own."""

    @property
    def location(self) -> str: ...

    @property
    def id(self) -> int | str:
        """The engine's name for this blob; opaque here, shown as `str(id)`."""
        ...

    @property
    def version(self) -> str:
        """Two states of a location with the same version are the same blob."""
        ...

    @property
    def size(self) -> int: ...  # in bytes

    @property
    def sha256(self) -> bytes: ...  # of its bytes: 32 bytes

    @property
    def modified_ns(self) -> int:
        """When it became complete: Unix time in nanoseconds."""
        ...

    @property
    def type(self) -> str: ...

    @property
    def encoding(self) -> str: ...

    @property
    def metadata(self) -> Mapping[str, str]: ...  # see Content


NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})


# What `complete_multipart` adds to the attributes of a blob: the id of the upload that it was. So who asks
# again, since the answer was lost, can be told.
UPLOAD_ID = ".upload"


class Event(msgspec.Struct, frozen=True):
    """One line of a blob's history."""

    time: str
    state: str
    message: str


class Origin(msgspec.Struct, frozen=True):
    """Of a blob that `blobkeep copy` moves: kept in place of what its upload would leave. `history`: oldest
    first, up to its being complete."""

    modified_ns: int
    history: Sequence[Event]


class Content(msgspec.Struct, frozen=True):
    """What an upload says of its bytes: kept with the blob, and given back.

    `metadata`, with names in lower case: cache-control, content-disposition, content-language, expires, and
    x-meta-<name>. A name that begins with a dot belongs to one front end, and no other shows it.
    """

    type: str = "application/octet-stream"
    encoding: str = ""
    metadata: Mapping[str, str] = NO_ATTRIBUTES
    origin: Origin | None = None


Condition = Callable[["Blob | None", bool], None]
"""Called with the location's current blob (None: it is not there) and whether it is damaged; raises what is
to be answered if the write must not go on. A store calls it before the body and again, in the one order of
the location's writes, right before the commit."""


def unconditional(blob: Blob | None, damaged: bool) -> None:
    """The Condition that lets every write go on, whatever is there."""


class Description(msgspec.Struct, frozen=True):
    """Everything the state file says of a blob in any state. `history` is newest first.

    `size` (bytes), `etag` and `modified` (RFC 3339) are those of a complete blob, or of one that is kept
    after its end: then `kept_until` says until when (RFC 3339). None of any other. `expires`: when a served
    blob does, by its own time or by the options (RFC 3339); None: never.
    """

    id: int | str
    location: str
    state: str
    seq: int
    size: int | None
    etag: str | None
    modified: str | None
    type: str
    encoding: str
    metadata: Mapping[str, str]
    history: Sequence[Event]
    kept_until: str | None = None
    expires: str | None = None


class Page(msgspec.Struct, frozen=True):
    """One page of a listing, sorted by code point. `next`: what to pass as `after`, None at the end."""

    blobs: Sequence[Blob]
    prefixes: Sequence[str]
    next: str | None


class Usage(msgspec.Struct, frozen=True):
    """How much is there. None: the engine cannot know it without looking at everything.

    `damaged`: known to be damaged, and not written or deleted since; `unread`: not known yet what they are;
    `read_errors`: reads of blobs that the disk refused since the start.

    `ids_left` counts ids without a live blob; garbage may still hold some of them. None of both: no limit.

    `pending`: uploads that are on disk already; `failures`: what waits for the gc; `kept`: what it keeps.
    """

    blobs: int | None
    bytes: int | None
    damaged: int
    uploads: int
    ids_left: int | None
    ids: int | None
    pending: int | None
    pending_bytes: int | None
    failures: int | None
    failure_bytes: int | None
    unread: int = 0
    read_errors: int = 0
    kept: int = 0
    kept_bytes: int = 0


class DamagedBlob(msgspec.Struct, frozen=True):
    """A blob that is damaged. `location`: None where nobody knows it any more. `quarantine`: the name of its
    folder there, None while on its way.
    """

    location: str | None
    id: int | str
    reason: str
    quarantine: str | None


class Reading(Protocol):
    """An open blob: reads the bytes it had when it was opened, to the end, whatever happens to the name."""

    @property
    def blob(self) -> Blob: ...

    def chunks(self, first: int, last: int) -> AsyncIterator[Bytes]:
        """The bytes first..last (inclusive, 0-based) in pieces, each verified before it is yielded.

        Raises Damaged at the first piece whose checksum is wrong. A piece is valid until the next one.
        """

    async def pour(self, first: int, last: int, sink: Sink) -> None:
        """The same bytes into `sink`, each verified before it is taken. Raises Damaged, and what it raises.

        For many or slow clients: memory is held only while the sink takes something.
        """

    def pour_now(self, sink: Sink) -> int:
        """The beginning of the blob, as far as nothing has to be waited for; how many bytes. As `pour`."""

    def close(self) -> None:
        """Give back what is held. Idempotent."""


class Upload(Protocol):
    """The bytes of one blob on their way in. Exactly one of `commit` and `abort` must end it."""

    def lend(self) -> LentRoom | None:
        """Where to put the bytes in place of calling `write`, all of them; asked before the first. None: this
        upload has no such memory."""

    def takes(self, data: Bytes) -> bool:
        """As `write`, where nothing has to be waited for. False: nothing was taken, give it to `write`."""

    async def write(self, data: Bytes) -> None:
        """Take the next bytes. Raises NoSpace, TooLarge, StorageFailed; then only `abort` is left to do."""

    async def sha256(self) -> bytes:
        """SHA-256 of all bytes so far (32 bytes), to compare with what the client sent. Busy: as `commit`."""

    async def commit(self, attributes: Mapping[str, str] = NO_ATTRIBUTES) -> tuple[Blob, bool]:
        """Make this the location's blob. Returns it, and whether it replaced another, once that is durable.

        `attributes` join the content's metadata: what is known only when all bytes have come.

        Raises what the condition raises, NoSpace, NoIdLeft, SyncFailed: it is aborted then; Busy: it was.
        """

    async def abort(self, reason: str) -> None:
        """Give it up: nothing becomes visible. Idempotent, and without effect once `commit` has begun."""


class Part(msgspec.Struct, frozen=True):
    """One part of an upload in parts, durable. A number that is sent again is another part with a new `id`.

    `number`: 1 to 10,000; `size` in bytes; `sha256`: 32 bytes, or none where nobody was to ask for it (see
    `Multiparts.begin_part`); `attributes`: what a front end keeps with it.
    """

    number: int
    id: str
    size: int
    sha256: bytes
    modified_ns: int
    attributes: Mapping[str, str]


class Multipart(msgspec.Struct, frozen=True):
    """An upload in parts that was begun, and neither completed nor aborted.

    `id`: opaque, never used again.
    """

    location: str
    id: str
    content: Content
    begun_ns: int


class PartUpload(Protocol):
    """The bytes of one part on their way in: as Upload, but `commit` makes a part durable, not a blob."""

    def lend(self) -> LentRoom | None: ...

    def takes(self, data: Bytes) -> bool: ...

    async def write(self, data: Bytes) -> None: ...

    async def sha256(self) -> bytes: ...

    async def commit(self, attributes: Mapping[str, str] = NO_ATTRIBUTES) -> Part:
        """Make it part `number` of the upload, in place of an earlier one; once that is durable."""

    async def abort(self, reason: str) -> None: ...


class Multiparts(Protocol):
    """Uploads in parts, which come in any order, at the same time, over days, and survive a restart.

    Nothing of one is visible at its location before it is complete. Every method that takes the `id` of an
    upload raises UnknownUpload where there is none of that location: never begun, complete, aborted, expired.
    """

    async def create_multipart(self, location: str, content: Content) -> Multipart:
        """Begin one; durable. Raises NoSpace, NoIdLeft, Busy."""

    async def find_multipart(self, location: str, upload_id: str) -> Multipart:
        """What was begun."""

    async def begin_part(
        self, location: str, upload_id: str, number: int, size: int | None, *, with_sha256: bool = True
    ) -> PartUpload:
        """Begin part `number`, of `size` bytes if that is known. Raises as `Store.begin`.

        `with_sha256`: whether `PartUpload.sha256` may be called, and the part is to have one. The bytes are
        hashed once more for that, as the whole has a SHA-256 of its own.
        """

    async def list_parts(self, location: str, upload_id: str) -> Sequence[Part]:
        """All that are there, by number."""

    async def list_multiparts(self, prefix: str, after: tuple[str, str], limit: int) -> Sequence[Multipart]:
        """The open uploads whose location starts with `prefix`, by (location, id), greater than `after`."""

    async def complete_multipart(
        self,
        location: str,
        upload_id: str,
        parts: Sequence[Part],
        condition: Condition,
        attributes: Mapping[str, str] = NO_ATTRIBUTES,
    ) -> tuple[Blob, bool]:
        """Make `parts`, joined in this order, the location's blob; returns and raises as `Upload.commit`.

        Raises PartsChanged where one of them is not there any more. Whatever it raises but SyncFailed, the
        upload is as it was. Parts that are not named are dropped. UPLOAD_ID joins the attributes.
        """

    async def abort_multipart(self, location: str, upload_id: str) -> None:
        """Drop it, and all its parts; durable."""

    async def sweep(self, older_than_s: float) -> int:
        """Drop the uploads of which nothing was heard for so long; returns their number."""


class Store(Protocol):
    """Named blobs. See the module docstring."""

    @property
    def multiparts(self) -> Multiparts | None:
        """Uploads in parts; None where the engine has no way of its own, and parts are to be blobs."""

    is_remote: bool  # every read asks another machine, so `peek` and `open_nowait` never have anything

    def peek(self, location: str, *, body: bool = True) -> tuple[Blob, bytes | memoryview] | None:
        """A small blob and all its bytes, verified, if that takes no waiting; none of them without `body`.

        The next call uses the buffer of a memoryview again. None says nothing: ask `stat` or `open` then.
        """

    async def stat(self, location: str) -> Blob | None:
        """The blob; None where there is none. Raises Damaged, Unreadable."""

    async def open(self, location: str) -> Reading:
        """Open it for reading. Raises NotFound, Damaged, Unreadable."""

    def open_nowait(self, location: str) -> Reading | None:
        """As `open`, where that takes no waiting. None says nothing: ask `open` then."""

    async def begin(
        self, location: str, condition: Condition, content: Content, size: int | None, *, waits: bool = True
    ) -> Upload:
        """Begin an upload. `size`: the declared length in bytes, None if unknown. `waits`: whether the client
        sends no byte before we agree; else a store may look at what is there at the commit alone.

        Raises what `condition` raises, TooLarge, NoSpace, Busy.
        """

    def begin_nowait(self, location: str, condition: Condition, content: Content, size: int) -> Upload | None:
        """As `begin`, where that takes no waiting; raises as it does. None says nothing: ask `begin` then."""

    async def write_whole(
        self, location: str, condition: Condition, content: Content, body: bytes, sha256: bytes = b""
    ) -> tuple[Blob, bool]:
        """An upload in one step, of a body that is small and whole. `sha256`: that of the body, if the caller
        has computed it. Returns and raises what `begin` and Upload.commit do."""

    async def delete(self, location: str, condition: Condition) -> None:
        """Delete it; returns once that is durable. Raises NotFound, what `condition` raises, SyncFailed."""
        ...

    async def copy(
        self,
        source: str,
        source_condition: Condition,
        target: str,
        condition: Condition,
        content: Content | None,
        *,
        move: bool = False,
    ) -> tuple[Blob, bool]:
        """Make `target` a blob with the bytes of `source`; returns and raises as `Upload.commit`.

        `content`: see copying.content_of_copy. They may be the same location. `move`: the source is deleted,
        too, in the same commit or after it. Raises NotFound, Damaged, Busy where the source is written
        meanwhile, and what `source_condition` raises of it.
        """
        ...

    async def list(self, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """A page of what starts with `prefix` and is greater than `after`. `delimiter`: "" or "/".

        A location that begins with NUL is a record of a front end: listed only where `prefix` does, too.
        """
        ...

    async def usage(self) -> Usage:
        """How much is there."""
        ...

    async def check_writable(self) -> None:
        """Raise NoSpace or StorageFailed where a write would be refused now."""
