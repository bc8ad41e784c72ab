"""What the processes, the monitor and the tools know of storage: an engine, which keeps blobs somewhere.

The local engine keeps them in one directory on one machine. Front ends do not see an engine: they see the
store that it opens (services/store.py).
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from common.errors import BlobkeepError
from common.histogram import Histogram
from common.self_report import NamedBlob, SelfReport
from common.worker import Worker
from services.store import Blob, Condition, DamagedBlob, Description, Reading, Store


class Transition(Protocol):
    """One line of a blob's history. `code`: see common.states; `at`: RFC 3339."""

    @property
    def code(self) -> int: ...

    @property
    def message(self) -> str: ...

    @property
    def at(self) -> str: ...


class BlobHistory(Protocol):
    """A blob as a listener is told of it: who it is, and its history, oldest step first."""

    @property
    def id(self) -> int | str: ...

    @property
    def location(self) -> str: ...

    @property
    def events(self) -> Sequence[Transition]: ...


class Listener(Protocol):
    """Who wants to know what happens to blobs. Called on the event loop; it must not wait or raise."""

    def told(self, blob: BlobHistory, since: int) -> None:
        """A blob went through `blob.events[since:]`. Some 1 µs: each write waits for it."""
        ...

    def damaged(self, blob: NamedBlob) -> None:
        """A blob was found damaged, and is no longer served."""
        ...


class Events:
    """Tells every listener. An engine has one, from its making on."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """From now on `listener` is told, too."""
        self._listeners.append(listener)

    def told(self, blob: BlobHistory, since: int) -> None:
        """See Listener."""
        for listener in self._listeners:
            listener.told(blob, since)

    def damaged(self, blob: NamedBlob) -> None:
        """See Listener."""
        for listener in self._listeners:
            listener.damaged(blob)


class Check(msgspec.Struct, frozen=True):
    """One thing that was checked. `vital`: without it a blob cannot be written and read. `age_s`: since when
    the result is known, in seconds; None: it was never done."""

    name: str
    ok: bool
    vital: bool
    age_s: float | None
    text: str


class Disk(msgspec.Struct, frozen=True):
    """Where an engine keeps its blobs, if that has an end. `min_free_...`: uploads that would leave less are
    refused."""

    size_bytes: int
    free_bytes: int
    free_inodes: int
    min_free_bytes: int
    min_free_inodes: int


class Recovered(msgspec.Struct, frozen=True):
    """What the start found and did, in blobs."""

    seconds: float = 0.0
    seen: int = 0
    live: int = 0
    interrupted: int = 0
    superseded: int = 0
    adopted: int = 0
    removed: int = 0
    quarantined: int = 0


class Commits(msgspec.Struct, frozen=True):
    """Since the start: seconds that the syncs of each commit took, and how many changes each made durable."""

    sync_times_s: Histogram
    group_sizes: Histogram


class StoreRequests(msgspec.Struct):
    """Requests of this process to what keeps the blobs, of one kind. `errors`: no answer, or none to use."""

    seconds: Histogram
    errors: int = 0


class Admin(Protocol):
    """What operators ask of an engine: blobs by id, in any state. Ids are the engine's, opaque here."""

    async def list_by_id(self, state: str | None, after: str | None, limit: int) -> Sequence[Description]:
        """Blobs in any state whose ids come after `after` (None: all), by id; with `state`, those in it.

        What cannot be read is left out. Costs what the page holds, and no more that memory knows of.
        Raises BadRequest where `after` is no id.
        """
        ...

    async def describe(self, blob_id: str) -> Description:
        """The state and history of one blob in any state. Raises NotFound, Damaged."""
        ...

    async def find_damaged(self) -> Sequence[DamagedBlob]:
        """All of the damaged blobs that are known of: see `damaged`. May ask the engine."""
        ...

    async def open(self, blob_id: str) -> Reading:
        """Open one blob for reading: one that is served, or one that was deleted or replaced and is kept.

        Raises NotFound, Damaged, Unreadable.
        """
        ...

    async def undelete(self, blob_id: str, location: str, condition: Condition) -> tuple[Blob, bool]:
        """Make the bytes of a kept blob, which must be one of `location`, that location's again, as a new
        blob. Returns it, and whether it replaced another, once that is durable.

        Raises NotFound where nothing of it is kept (any more), what `condition` raises, and as Upload.commit.
        """
        ...

    def damaged(self, limit: int) -> Sequence[DamagedBlob]:
        """The first of the damaged blobs: they answer 500 until they are written or deleted anew."""
        ...

    @property
    def quarantine(self) -> Quarantine | None:
        """None if what is kept of damaged blobs can be handled without the engine, as files."""
        ...


class KeptDamage(msgspec.Struct, frozen=True):
    """What is kept of a damaged blob. `location`, `size`: None where nothing says them any more.

    `state`: what its location is now. `time`: since when it is kept, RFC 3339.
    """

    name: str
    location: str | None
    reason: str
    time: str
    state: str
    size: int | None


class Restored(msgspec.Struct, frozen=True):
    """Where a blob is served again. It stays in quarantine until it is dropped."""

    location: str
    size: int


class Quarantine(Protocol):
    """What is kept of damaged blobs, by name. All raise NotFound where there is no such name."""

    async def find(self) -> Sequence[KeptDamage]:
        """All of it, by name."""
        ...

    async def examine(self, name: str) -> tuple[KeptDamage, list[int] | None, str]:
        """One of them; which MiB of it are wrong now, None where nothing tells; and what is wrong, empty if
        it is whole."""
        ...

    async def restore(self, name: str, to: str | None, *, even_deleted: bool) -> Restored:
        """Serve it again: at its own location if nothing took its place, or at `to`, if nothing is there.

        Raises Damaged where it is not whole, AlreadyExists where another blob is there, and DeletedSince.
        """
        ...

    async def drop(self, name: str) -> int:
        """Remove it for good; how many bytes. A location that answers 500 for it answers 404 from then on."""
        ...


class DeletedSince(BlobkeepError):
    """The location of a damaged blob was deleted since, so to restore the blob would undo that."""


OnProgress = Callable[[int, int], None]
"""Called with (done, all), while something takes long; from any thread."""

OnFatal = Callable[[BlobkeepError], None]
"""Called once, when a sync failed or the engine lost what it owns: the process must stop (design rule 5)."""


Mark = tuple[int, int, int]
"""Of what a location has now: two numbers for `Marks.stands`, and the blob's size."""


class Marks(Protocol):
    """Whether an answer that was made a moment ago still holds, asked as cheaply as can be."""

    @property
    def rights(self) -> int:
        """A number that changes with `Sharing.new_rights`."""
        ...

    def mark(self, location: str) -> Mark | None:
        """The mark of the blob at `location`. None where it is not shown or not at hand, and where its answer
        does not hold for ever: it will expire, or its reads are counted."""
        ...

    def stands(self, at: int, word: int, rights: int) -> bool:
        """Whether the location of this mark has had its blob without a break since then, and `rights` are
        what they were. Never True after a write of that location was acknowledged.
        """
        ...


class Sharing(Marks, Protocol):
    """What a server shares with its reader processes (services/reader.py). On the event loop alone."""

    epoch: int  # a number of this server's alone, for `Engine.shared`

    def listen(self) -> socket.socket:
        """A unix socket, listening, where `Engine.reach_server` finds it. Raises OSError."""
        ...

    def descriptors(self) -> Sequence[int]:
        """What a reader gets of us, with the epoch; the caller closes them. Raises OSError."""
        ...

    def new_rights(self) -> None:
        """Who may do what has changed: from now on readers know nothing of it."""
        ...

    async def watch(self) -> None:
        """Runs beside the requests; ends where readers cannot be told any more when this server is gone, once
        they believe nothing. Raises OSError."""
        ...

    async def show(self, location: str) -> bool:
        """Let readers answer for the blob at `location`; False where there is none, or they cannot."""
        ...


class Shared(Marks, Protocol):
    """What a reader process knows of blobs: what its server shows it. On the event loop alone."""

    def peek(self, location: str, *, body: bool = True) -> tuple[Blob, bytes | memoryview] | None:
        """As Store.peek. A blob that was replaced or deleted by a write that was acknowledged before the call
        is never returned, whether its server lives or not."""
        ...

    def peek_alone(self, location: str, *, body: bool = True) -> tuple[Blob, bytes | memoryview] | None:
        """The same, while there is no server."""
        ...

    async def load(self, location: str) -> None:
        """Bring what is shown of `location` to where `peek` need not wait for it."""
        ...


class Engine(Protocol):
    """One engine, made by services/engines/choose.py. Nothing is touched before the first call."""

    name: str
    processes: tuple[str, ...]
    """Those that it needs, the server first: no other is started, watched or shown."""
    events: Events

    @property
    def reports_dir(self) -> str:
        """A local folder, where the processes leave their self reports."""
        ...

    def own(self) -> Awaitable[None]:
        """Own what is stored, until `close` or the end of this process. Waits as the configuration says.

        Raises LockHeld, ConfigError, OSError, Unavailable.
        """
        ...

    def open(self, progress: OnProgress, on_fatal: OnFatal) -> Awaitable[Store]:
        """Recover what is stored, and serve it. After `own`. Raises BlobkeepError, OSError."""
        ...

    def close(self) -> Awaitable[None]:
        """End every upload, finish what was submitted, give it back; also after a failed `open`."""
        ...

    def collector(self, *, once: bool = False) -> Worker:
        """The gc process. `once`: its one pass looks at everything."""
        ...

    def verifier(self) -> Worker:
        """The recovery process."""
        ...

    def check(self, *, dry_run: bool) -> int:
        """The operator's check of everything: prints a table, returns the exit status, 1 for damage."""
        ...

    def admin(self) -> Admin:
        """After `open`."""
        ...

    def hear(self, reports: Mapping[str, SelfReport | None]) -> None:
        """The self reports of the processes, every second, after `open`."""
        ...

    def health(self) -> Awaitable[Sequence[Check]]:
        """Whether a blob can be written and read: cheap enough for load balancers to ask every second."""
        ...

    def disk(self) -> Disk | None:
        """May wait for a disk: not for the event loop. None where there is none, or it is gone."""
        ...

    def sharing(self) -> Sharing | None:
        """After `open`: for reader processes; None where it has none. Raises OSError."""
        ...

    def reach_server(self) -> socket.socket:
        """In a reader process: a connection to the server's `Sharing.listen`. Raises OSError, ConfigError."""
        ...

    def shared(self, epoch: int, descriptors: Sequence[int]) -> Shared:
        """In a reader process, after `reach_server`, in place of `own` and `open`. Raises OSError."""
        ...

    @property
    def recovered(self) -> Recovered: ...

    @property
    def serves(self) -> str:
        """What it serves, for the start line: "3 blobs". After `open`."""
        ...

    @property
    def requests(self) -> Mapping[str, StoreRequests]:
        """By kind, since the start. Empty where blobs are kept without requests."""
        ...

    @property
    def commits(self) -> Commits | None:
        """None where nothing is synced by this process."""
        ...
