"""How the empty store of each engine is made for one test, and ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from common.config import Config
from common.errors import AlreadyExists, BlobkeepError, NotFound
from common.self_report import NamedBlob
from services.engine import BlobHistory, Engine, Events
from services.engines.choose import choose
from services.engines.objects.client import BucketClient, SystemClock
from services.engines.objects.commit import Tools
from services.engines.objects.meter import Meter
from services.engines.objects.pointers import Pointers
from services.engines.objects.store import ObjectsStore
from services.read_all import all_bytes
from services.store import Blob, Condition, Content, Store
from tests.support.memory_engine import MemoryEngine
from tests.support.memory_store import MemoryStore
from tests.support.seaweed import Seaweed
from tests.support.stores import opened

T = TypeVar("T")

# So that tests have small bodies, which stand in a pointer or a journal, and large ones, in parts of their
# own.
INLINE_BYTES = 64 << 10
PART_BYTES = 1 << 20
HOT_BYTES = 8 << 20


class ToldSteps:
    """Everything that a listener was told: (location, message) of each step."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, str]] = []
        self.found_damaged: list[NamedBlob] = []

    def told(self, blob: BlobHistory, since: int) -> None:
        self.steps += [(blob.location, step.message) for step in blob.events[since:]]

    def damaged(self, blob: NamedBlob) -> None:
        self.found_damaged.append(blob)


class Under:
    """A store under test, with shorthands."""

    def __init__(self, store: Store, events: Events) -> None:
        self.store = store
        self.listener = ToldSteps()
        events.subscribe(self.listener)

    async def put(
        self,
        location: str,
        body: bytes = b"x",
        condition: Condition | None = None,
        content: Content = Content("text/plain"),  # noqa: B008 - frozen
        *,
        whole: bool = False,
        piece_bytes: int = 100_000,
    ) -> tuple[Blob, bool]:
        """Write it, in pieces or in one step."""
        judge = condition or anything
        if whole:
            return await self.store.write_whole(location, judge, content, body)
        upload = await self.store.begin(location, judge, content, len(body))
        for at in range(0, len(body), piece_bytes):
            await upload.write(body[at : at + piece_bytes])
        return await upload.commit()

    async def get(self, location: str) -> bytes | None:
        """All its bytes; None if it is not there."""
        try:
            reading = await self.store.open(location)
        except NotFound:
            return None
        try:
            return await all_bytes(reading)
        finally:
            reading.close()

    async def names(self, prefix: str = "", delimiter: str = "", limit: int = 1000) -> list[str]:
        """All locations and folded prefixes, by pages of `limit`, in the order that they came."""
        found: list[str] = []
        after = ""
        while True:
            page = await self.store.list(prefix, delimiter, after, limit)
            found += sorted([*(blob.location for blob in page.blobs), *page.prefixes])
            assert len(page.blobs) + len(page.prefixes) <= limit
            if page.next is None:
                return found
            assert page.next > after
            after = page.next


Maker = Callable[[], AbstractAsyncContextManager[Under]]
Test = Callable[[Under], Awaitable[T]]


def anything(blob: Blob | None, damaged: bool) -> None:
    """A condition that always holds."""


def only_new(blob: Blob | None, damaged: bool) -> None:
    """Create, as POST does."""
    if blob is not None:
        raise AlreadyExists("It is there.")


def only_there(blob: Blob | None, damaged: bool) -> None:
    """Update, as PUT does."""
    if blob is None and not damaged:
        raise NotFound("It is not there.")


@asynccontextmanager
async def in_memory() -> AsyncIterator[Under]:
    events = Events()
    yield Under(MemoryStore(events), events)


def local(folder: Path) -> Maker:
    @asynccontextmanager
    async def make() -> AsyncIterator[Under]:
        events = Events()
        async with opened(str(folder / "data"), events=events) as made:
            yield Under(made.store, events)

    return make


def objects(process: Seaweed) -> Maker:
    @asynccontextmanager
    async def make() -> AsyncIterator[Under]:
        events = Events()
        store = objects_store(process.client(), events)
        yield Under(store, events)
        await store.close()

    return make


def objects_store(
    client: BucketClient, events: Events | None = None, hot_bytes: int = HOT_BYTES
) -> ObjectsStore:
    """One server's store on the bucket of `client`."""
    clock = SystemClock()
    tools = Tools(client, Pointers(client, clock), clock)
    return ObjectsStore(
        tools, events or Events(), inline_bytes=INLINE_BYTES, part_bytes=PART_BYTES, hot_bytes=hot_bytes
    )


def another_server(client: BucketClient) -> BucketClient:
    """A client of the same bucket and prefix, like that of a second server."""
    return BucketClient(client.settings, Meter())


EngineMaker = Callable[[], Engine]


def memory_engine(folder: Path) -> EngineMaker:
    engine = MemoryEngine(str(folder))
    return lambda: engine


def local_engine(folder: Path) -> EngineMaker:
    config = Config(dir=str(folder / "data"), lock_wait_s=0.0)
    return lambda: choose(config)


def objects_engine(folder: Path, process: Seaweed) -> EngineMaker:
    settings = process.settings()
    assert settings.credentials is not None
    secrets = folder / "credentials"
    secrets.touch(mode=0o600)
    secrets.write_text(
        f"[default]\naws_access_key_id = {settings.credentials.access_key}\n"
        f"aws_secret_access_key = {settings.credentials.secret_key}\n"
    )
    config = Config(
        engine="objects",
        dir=str(folder / "data"),
        objects_endpoint=settings.endpoint,
        objects_bucket=settings.bucket,
        objects_prefix=settings.prefix,
        objects_credentials_file=str(secrets),
    )
    return lambda: choose(config)


@asynccontextmanager
async def serving(engine: Engine) -> AsyncIterator[Under]:
    """The store of an engine that is owned and open, until the end."""

    def fatal(err: BlobkeepError) -> None:
        raise err

    try:
        await engine.own()
        yield Under(await engine.open(lambda done, total: None, fatal), engine.events)
    finally:
        await engine.close()


def run(maker: Maker, test: Test[T]) -> T:
    """The result of `test` on a new store."""

    async def go() -> T:
        async with maker() as under:
            return await test(under)

    return asyncio.run(go())
