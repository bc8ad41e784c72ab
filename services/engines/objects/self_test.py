"""Tests, before a server trusts a bucket, whether the store obeys conditions.

A store that ignores them answers 200 to both of two creates, and loses one. So a server starts only on a
store that passes; else it says which condition was ignored. It costs some seventy requests, under
`selftest/`.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from common.errors import ConfigError, Unavailable
from services.engines.objects import keys
from services.engines.objects.bucket import ABSENT, Bucket, Got, Refused, Unchanged, Unclear, When, pages
from services.engines.objects.client import BucketClient, Denied

FOLDER = "selftest/"
RACERS = 4
# So many states follow one another, and each is checked: an old one may come back for a moment.
STATES = 16
# A busy store may give no clear answer to one request; it is then sent with another key.
TRIES = 5

# Names that sort differently by case, by locale or by UTF-16, and characters that get lost on the way.
_NAMES = [
    "A",
    "a",
    "B",
    "a b",
    "a%41b",
    "a+b&c=d",
    "a\\b",
    "a/b",
    "a",
    "é",
    "\uff5e",
    "\U0001f600",
    "x" * 300,
]


_CAME_BACK = (
    "The object store shows what was replaced a moment ago: an acknowledged write would be lost. Of a "
    "SeaweedFS, look whether its filers have one filer.store.id (docs/objects.md)."
)


class Unfit(ConfigError):
    """The store does not do what the engine needs. The text says what."""


async def check(client: BucketClient) -> None:
    """Return if the store is fit. Also finds out whether it compares ETags with their quotes.

    Raises Unfit; Unavailable if the store does not answer, or refuses our credentials.
    """
    async with _folder(client) as folder:
        await _answers(client, folder)
        # At the same time: a store of many processes may take a second for each write that others race with.
        results = await asyncio.gather(
            *(part(client, folder) for part in _PARTS),
            return_exceptions=True,
        )
        for wrong in results:
            if wrong is not None:
                raise wrong


async def _answers(client: BucketClient, folder: str) -> None:
    """One plain write before all else: seventy failures at once would not tell a wrong address or wrong
    credentials from a store that is not fit. The client has logged the cause.

    No read: SeaweedFS makes a bucket at the first write into it.
    """
    try:
        await client.put(f"{folder}first", b"", None)
    except Denied as err:
        raise Unavailable(f"{err} Look at the credentials, their rights, and objects_bucket.") from err
    except Unavailable as err:
        where = client.settings.endpoint or "AWS"
        raise Unavailable(
            f"The object store at {where} does not serve the bucket {client.settings.bucket}: see the line "
            "before. Look at objects_endpoint and objects_bucket, and whether the store runs."
        ) from err


async def _create_only(client: BucketClient, folder: str) -> None:
    async def attempt(key: str) -> None:
        await client.put(key, b"first", ABSENT)
        if await _takes(client, key, b"second", ABSENT):
            raise Unfit(_ignored("If-None-Match: *", "a second create of one object succeeded"))
        got = await client.get(key)
        if got is None or got.data != b"first":
            raise Unfit("The object store does not read what was just written, or a refused create wrote.")

    await _until_clear(attempt, f"{folder}create")


async def _racing_creates(client: BucketClient, folder: str) -> None:
    key = f"{folder}race"
    bodies = [b"%d" % number for number in range(RACERS)]
    won = await asyncio.gather(*(_succeeds(client, key, body, ABSENT) for body in bodies))
    if sum(won) > 1:
        raise Unfit(_ignored("If-None-Match: *", f"{sum(won)} of {RACERS} creates at once succeeded"))


async def _swaps(client: BucketClient, folder: str) -> None:
    async def attempt(key: str) -> None:
        stale = await client.put(key, b"one", ABSENT)
        current = await _right_swap(client, key, stale)
        if await _takes(client, key, b"wrong", stale):
            raise Unfit(_ignored("If-Match", "a swap with an ETag that was not current succeeded"))
        await client.put(key, b"three", current)
        if await _takes(client, key, b"wrong", current):
            raise Unfit(_ignored("If-Match", "the same swap succeeded twice"))
        got = await client.get(key)
        if got is None or got.data != b"three":
            raise Unfit("The object store does not read what was just swapped in, or a refused swap wrote.")
        await _stands(client, f"{key}-states")
        won = await asyncio.gather(*(_succeeds(client, key, b"%d" % n, got.etag) for n in range(RACERS)))
        if sum(won) > 1:
            raise Unfit(_ignored("If-Match", f"{sum(won)} of {RACERS} swaps of one state at once succeeded"))
        if await _takes(client, f"{folder}none", b"wrong", current):
            raise Unfit(_ignored("If-Match", "a swap of an object that is not there succeeded"))

    await _until_clear(attempt, f"{folder}swap")


async def _stands(client: BucketClient, key: str) -> None:
    """Each swapped-in object stays, and the replaced one does not come back.

    Two filers of a SeaweedFS that share one database, but took different ids for it, bring old objects back a
    moment later.
    """
    states = [b"state %d" % number for number in range(STATES)]
    etag = await client.put(key, states[0], ABSENT)
    for before, state in itertools.pairwise(states):
        try:
            etag = await client.put(key, state, etag)
        except Refused:
            got = await client.get(key)
            if got is not None and got.data in (before, state):
                raise  # it says nothing of what is there
            raise Unfit(_CAME_BACK) from None
        got = await client.get(key)
        if got is None or got.data != state:
            raise Unfit(_CAME_BACK)


async def _right_swap(client: BucketClient, key: str, etag: str) -> str:
    """Swap the object with this ETag. Finds out whether the store compares it with its quotes."""
    for quoted in (True, False):
        client.quoted_etags = quoted
        try:
            return await client.put(key, b"two", etag)
        except Refused:
            continue
    got = await client.get(key)
    if got is not None and got.data == b"two":
        raise Unclear("a swap was refused, and applied")
    raise Unfit("The object store refuses a swap with the right ETag, with and without quotes.")


async def _reads(client: BucketClient, folder: str) -> None:
    body = bytes(range(256)) * 64

    async def attempt(key: str) -> None:
        etag = await client.put(key, body, ABSENT)
        whole = await client.get(key)
        if whole is None or whole.data != body or whole.etag != etag:
            raise Unfit("The object store does not read what was just written, with the ETag that it said.")
        try:
            part = await client.get(key, 1000, 100)
        except Unavailable as err:
            if "non-partial" not in str(err.__cause__):  # obstore's words for a 200 where a 206 is due
                raise
            part = None
        if part is None or part.data != body[1000:1100] or part.size != len(body) or part.etag != etag:
            raise Unfit("The object store gives wrong bytes, size or ETag for a part of an object (Range).")
        beyond = await client.get(key, 0, 1 << 20)
        if beyond is None or beyond.data != body:
            raise Unfit("The object store does not give the whole object for a range that is longer.")
        await client.delete([key])
        if await client.get(key) is not None:
            raise Unfit("The object store still reads an object that was just deleted.")

    await _until_clear(attempt, f"{folder}read")


async def _changed_reads(client: BucketClient, folder: str) -> None:
    """Finds out whether a GET may name the ETag that we have. A store need not: then it sends all bytes."""
    key = f"{folder}changed"
    first = await client.put(key, b"first", None)
    try:
        same = await client.get_changed(key, first)
        await client.put(key, b"second", None)
        other = await client.get_changed(key, first)
    except Unavailable:
        client.tells_unchanged = False
        return
    is_right = isinstance(same, Unchanged) or (same is not None and same.data == b"first")
    client.tells_unchanged = is_right and isinstance(other, Got) and other.data == b"second"


async def _names(client: BucketClient, folder: str) -> None:
    names = sorted({keys.name_of(name) for name in [*_NAMES, "x" * 300]}, key=str.encode)
    etags = await asyncio.gather(*(client.put(f"{folder}n/{name}", name.encode(), None) for name in names))
    found = [listed async for page in pages(client, f"{folder}n/") for listed in page]
    if [listed.key.removeprefix(f"{folder}n/") for listed in found] != names:
        raise Unfit("The object store lists other names than were just written, or not by their bytes.")
    if [listed.etag for listed in found] != list(etags):
        raise Unfit("The object store lists other ETags than it gave when the objects were written.")
    middle = len(names) // 2
    after = f"{folder}n/{names[middle]}"
    rest = [listed async for page in pages(client, f"{folder}n/", after) for listed in page]
    if [listed.key.removeprefix(f"{folder}n/") for listed in rest] != names[middle + 1 :]:
        raise Unfit("The object store does not list what follows a name (start-after).")


_PARTS = (_create_only, _racing_creates, _swaps, _reads, _changed_reads, _names)


async def _until_clear(attempt: Callable[[str], Awaitable[None]], stem: str) -> None:
    """Run it, each time with another key, until all its conditional writes get a clear answer.

    A write with an unclear answer may be applied later, so nothing can be concluded from that key.
    """
    for number in range(TRIES):
        try:
            await attempt(f"{stem}{number}")
        except (Refused, Unclear):  # what must succeed was refused: a store may say so of what it applied
            continue
        return
    raise Unavailable("The object store gives no clear answer to conditional writes.")


async def _takes(bucket: Bucket, key: str, data: bytes, when: When) -> bool:
    """Whether the store takes this write. Raises Unclear."""
    try:
        await bucket.put(key, data, when)
    except Refused:
        return False
    return True


async def _succeeds(bucket: Bucket, key: str, data: bytes, when: When) -> bool:
    try:
        return await _takes(bucket, key, data, when)
    except Unclear:
        return False


@asynccontextmanager
async def _folder(client: BucketClient) -> AsyncIterator[str]:
    """A folder of our own, empty again afterwards."""
    folder = f"{FOLDER}{secrets.token_hex(8)}/"
    try:
        yield folder
    except Unfit:
        with suppress(Unavailable):  # what it does wrong is what matters
            await _clear(client, folder)
        raise
    await _clear(client, folder)


async def _clear(client: BucketClient, folder: str) -> None:
    async for page in pages(client, folder):
        await client.delete([listed.key for listed in page])


def _ignored(header: str, what: str) -> str:
    return (
        f"The object store ignores {header}: {what}. It would lose acknowledged writes, so the server does "
        "not start on it; docs/objects.md says which stores will do."
    )
