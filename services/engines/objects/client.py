"""The bucket of an S3-compatible store: see bucket.Bucket. Through obstore, but for what `direct.py` does.

A request that may be repeated is repeated, after a growing pause, until `patience_s` is over. A conditional
write is sent once: a second try, hidden here, would make the answer to the first ambiguous.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import obstore
from obstore import exceptions
from obstore.store import S3Store

from common.checksum import Bytes
from common.errors import ConfigError, Unavailable
from services.engines.objects import txn
from services.engines.objects.bucket import (
    UNCHANGED,
    Absent,
    Got,
    Listed,
    ListPage,
    Refused,
    Unchanged,
    Unclear,
    When,
)
from services.engines.objects.direct import MAX_PUT_BYTES, Unusual, WrongStatus, direct_to
from services.engines.objects.meter import Meter
from services.engines.objects.settings import Settings

if TYPE_CHECKING:
    from obstore import GetOptions, PutMode
    from obstore.store import ClientConfig, S3Config

log = logging.getLogger("objects")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

FIRST_PAUSE_S = 0.05
MAX_PAUSE_S = 2.0
MAX_ASKED_PAUSE_S = 5.0  # by Retry-After
COPIED_BYTES = 64 << 10
LIST_PAGE = 1000  # what stores give at most
_READS = ("get", "list")  # of the meter's kinds
_LEAST_READ_S = 1.0  # a read may take so long, whatever the patience

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_DETAIL_CHARS = 300


class Denied(Unavailable):
    """The store refuses our credentials, or they lack this right. Repeating the request does not help."""


class BucketClient:
    """Used from one event loop. `meter` counts every request that is sent."""

    def __init__(self, settings: Settings, meter: Meter) -> None:
        self.settings = settings
        self.meter = meter
        self.quoted_etags = True  # some stores compare only without the quotes: the self-test finds out
        self.tells_unchanged = True  # `get_changed` may name an ETag: the self-test finds out
        self._prefix = settings.prefix
        self._patience_s = settings.patience_s
        self._timeout_s = settings.request_timeout_s
        self._read_s = min(settings.request_timeout_s, max(settings.patience_s / 2, _LEAST_READ_S))
        self._store = _open(settings)
        self._direct = direct_to(settings)

    async def get(self, key: str, first: int = 0, limit: int | None = None) -> Got | None:
        """See bucket.Bucket."""
        return await self._repeat("get", self._get, self._prefix + key, first, limit)

    async def _get(self, within_s: float, path: str, first: int, limit: int | None) -> Got | None:
        """Sent once, or once more through obstore. Raises its errors, OSError.

        Without bytes if the object ends before `first`, for which stores give an error.
        """
        if self._direct is not None:
            try:
                return await self._direct.get(path, first, limit, within_s)
            except Unusual as err:
                if err.always:
                    self._direct = None
            except WrongStatus as err:
                if _status(err) != 416:
                    raise
        try:
            options: GetOptions = {}
            if limit is not None:
                options["range"] = (first, first + limit)
            elif first:
                options["range"] = {"offset": first}
            return await self._get_by_obstore(within_s, path, options)
        except (exceptions.BaseError, OSError) as err:
            if _status(err) != 416 or not (first or limit):
                raise
        if not first:
            return await self._get(within_s, path, 0, None)  # it is empty: then it has no range at all
        got = await self._get(within_s, path, 0, 1)
        return None if got is None else Got(b"", got.etag, got.size)

    async def get_changed(self, key: str, etag: str) -> Got | Unchanged | None:
        """See bucket.Bucket."""
        if not self.tells_unchanged:
            return await self.get(key)
        return await self._repeat("get", self._get_changed, self._prefix + key, etag)

    async def _get_changed(self, within_s: float, path: str, etag: str) -> Got | Unchanged | None:
        """Sent once, or once more through obstore. Raises its errors, OSError."""
        if self._direct is not None:
            try:
                return await self._direct.get_changed(path, etag, within_s)
            except Unusual as err:
                if err.always:
                    self._direct = None
        try:
            return await self._get_by_obstore(within_s, path, {"if_none_match": etag})
        except exceptions.NotModifiedError:
            return UNCHANGED

    async def _get_by_obstore(self, within_s: float, path: str, options: GetOptions) -> Got | None:
        try:
            async with asyncio.timeout(within_s):
                result = await obstore.get_async(self._store, path, options=options)
                data = await result.bytes_async()
        except FileNotFoundError as err:
            _must_mean_the_key(err)
            return None
        # A copy of a few bytes is quicker to work with; one of a MiB takes as long as its checksum.
        held = data.to_bytes() if len(data) <= COPIED_BYTES else memoryview(data)
        return Got(held, _must_have(result.meta["e_tag"]), result.meta["size"])

    async def put(self, key: str, data: Bytes, when: When) -> str:
        """See bucket.Bucket."""
        path = self._prefix + key
        if when is None:
            return await self._repeat("put", self._put_by_obstore, path, data)
        if not when:
            raise ValueError("a condition without an ETag would be none")
        began = time.monotonic()
        try:
            if self._direct is not None and len(data) <= MAX_PUT_BYTES:
                etag = await self._direct.swap(
                    path, data, None if isinstance(when, Absent) else self._as_sent(when)
                )
            else:
                mode: PutMode = "create" if isinstance(when, Absent) else {"e_tag": self._as_sent(when)}
                etag = _must_have(await self._put_by_obstore(self._timeout_s, path, data, mode))
        except (Refused, exceptions.AlreadyExistsError, exceptions.PreconditionError) as err:
            self.meter.count("swap", began)
            raise Refused from err
        except (exceptions.BaseError, OSError) as err:
            self.meter.count("swap", began, failed=True)
            log.warning("a conditional write got no clear answer: %s", _brief(err))
            raise Unclear(_brief(err)) from err
        self.meter.count("swap", began)
        return etag

    async def _put_by_obstore(
        self, within_s: float, path: str, data: Bytes, mode: PutMode | None = None
    ) -> str:
        async with asyncio.timeout(within_s):
            result = await obstore.put_async(self._store, path, data, mode=mode, use_multipart=False)
        return result["e_tag"] or ""

    async def delete(self, keys: Sequence[str]) -> None:
        """See bucket.Bucket."""
        paths = [self._prefix + key for key in keys]

        async def ask(within_s: float) -> None:
            try:
                async with asyncio.timeout(within_s):
                    await obstore.delete_async(self._store, paths if len(paths) > 1 else paths[0])
            except FileNotFoundError as err:
                _must_mean_the_key(err)

        if paths:
            await self._repeat("delete", ask)

    async def list(self, folder: str, after: str) -> ListPage:
        """See bucket.Bucket."""
        found = await self._repeat("list", self._page, folder, after)
        return ListPage(found, len(found) == LIST_PAGE)

    async def _page(self, within_s: float, folder: str, after: str) -> Sequence[Listed]:
        async with asyncio.timeout(within_s):
            return await self._page_in_time(folder, after)

    async def _page_in_time(self, folder: str, after: str) -> Sequence[Listed]:
        start = len(self._prefix)
        stream = obstore.list(
            self._store,
            self._prefix + folder.removesuffix("/"),
            offset=self._prefix + after if after else None,
            chunk_size=LIST_PAGE,
        )
        async for chunk in stream:
            return [
                Listed(
                    meta["path"][start:],
                    meta["size"],
                    meta["e_tag"] or "",
                    int(meta["last_modified"].timestamp() * 1e9),
                )
                for meta in chunk
            ]
        return []

    async def _repeat(self, kind: str, ask: Callable[[float, *Ts], Awaitable[T]], *args: *Ts) -> T:
        """The answer of `ask(within_s, *args)`, asked again while that may help. Raises Unavailable.

        All tries together take no longer than `patience_s`. A read is given up after half of that, so that it
        is sent once more, on another connection: the store, or one machine of it, may accept requests and
        answer none.
        """
        began = time.monotonic()
        deadline = began + self._patience_s
        within_s = longest_s = self._read_s if kind in _READS else self._timeout_s
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                answer = await ask(within_s, *args)
            except (exceptions.BaseError, OSError) as err:
                self.meter.count(kind, began, failed=True)
                asked_s = err.retry_after_s if isinstance(err, WrongStatus) else 0.0
                if not _may_help(err):
                    log.error("the object store refuses a %s: %s", kind, _brief(err))
                    raise Denied(f"The object store refuses the server's requests: {_code(err)}.") from err
                if time.monotonic() + pause_s > deadline:
                    log.warning("the object store gives no answer to a %s: %s", kind, _brief(err))
                    raise Unavailable("The object store cannot be reached: try again.") from err
            else:
                self.meter.count(kind, began)
                return answer
            await asyncio.sleep(max(pause_s, min(asked_s, MAX_ASKED_PAUSE_S, deadline - time.monotonic())))
            pause_s = min(2 * pause_s, MAX_PAUSE_S)
            began = time.monotonic()
            within_s = min(longest_s, max(deadline - began, FIRST_PAUSE_S))

    def _as_sent(self, etag: str) -> str:
        return etag if self.quoted_etags else etag.strip('"')


class SystemClock:
    """See bucket.Clock."""

    def now_ns(self) -> int:
        return time.time_ns()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def new_txn(self) -> str:
        return txn.new_txn(time.time_ns())


def _open(settings: Settings) -> S3Store:
    client: ClientConfig = {
        "allow_http": settings.endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=settings.connect_timeout_s),
        "timeout": timedelta(seconds=settings.request_timeout_s),
        "user_agent": "blobkeep",
    }
    if settings.ca_file:
        try:
            client["root_certificate"] = Path(settings.ca_file).read_bytes()
        except OSError as err:
            raise ConfigError(f"objects_ca_file: {settings.ca_file} cannot be read.") from err
    config: S3Config = {
        "bucket": settings.bucket,
        "region": settings.region,
        "virtual_hosted_style_request": settings.virtual_hosts,
    }
    if settings.endpoint:
        config["endpoint"] = settings.endpoint.rstrip("/")
    if settings.credentials is not None:
        config["access_key_id"] = settings.credentials.access_key
        config["secret_access_key"] = settings.credentials.secret_key
        if settings.credentials.token:
            config["session_token"] = settings.credentials.token
    return S3Store(config=config, client_options=client, retry_config={"max_retries": 0})


def _must_have(etag: str | None) -> str:
    """The ETag of an answer. Without one the next swap would have no condition. Raises WrongStatus."""
    if not etag:
        raise WrongStatus("the store answers without an ETag")
    return etag


def _must_mean_the_key(err: FileNotFoundError) -> None:
    """Raise unless this 404 is the store's own answer for this key, not a proxy's or a missing bucket's."""
    if _code(err) != "NoSuchKey":
        raise Unavailable("The object store says that the bucket is not there, or a proxy says so.") from err


def _may_help(err: Exception) -> bool:
    """Whether to ask again may give another answer."""
    if isinstance(err, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return False
    status = _status(err)
    return not status or status >= 500 or status in (408, 409, 429)


def _status(err: Exception) -> int:
    """The status of the store's answer; 0 if it gave none."""
    found = _STATUS.search(str(err))
    return int(found[1]) if found is not None else 0


def _code(err: Exception) -> str:
    """The store's own name for the error, else its status, else the kind of error."""
    text = str(err)
    found = _CODE.search(text) or _STATUS.search(text)
    return found[1] if found else type(err).__name__


def _brief(err: Exception) -> str:
    """One line for the log: what was asked, and the beginning of the answer."""
    text = str(err) or "it took too long"  # a TimeoutError says nothing
    return " ".join(text.partition("Debug source:")[0].split())[:_DETAIL_CHARS]
