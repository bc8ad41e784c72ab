"""An HTTP proxy in front of an object store, which behaves like a bad network: requests and answers get lost,
come late, or come twice.

It runs on a thread of its own. Each `Door` is one port, with faults of its own that can be turned off. Bodies
are held in memory: for tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_HOST = "127.0.0.1"
_LINE_BYTES = 64 << 10
_UPSTREAM_WITHIN_S = 30.0


@dataclass(frozen=True)
class Faults:
    """The probability of each fault, for one request. Times are in seconds.

    `lost_answer`: it is done, and the connection closed; `lost_request`: it is not done, and the connection
    closed; `refused`: it is answered with 503, not done; `failed`: done, and answered with 500; `late`: it is
    done up to `late_s` later, whether somebody still waits for it or not; `twice`: a write is done once more,
    up to `twice_s` after its answer.
    """

    lost_answer: float = 0.0
    lost_request: float = 0.0
    refused: float = 0.0
    failed: float = 0.0
    late: float = 0.0
    late_s: float = 0.0
    twice: float = 0.0
    twice_s: float = 0.0


NONE = Faults()
Seen = Callable[[str, str], None]
"""Called with method and target once a request was done, before its answer leaves."""
Asks = Callable[[str, str, bytes], Callable[[bytes], None] | None]
"""Called with method, target and all bytes of a request that is about to be sent to the store; what it
returns is called with the answer, once that came whole."""


class Proxy(threading.Thread):
    """The thread. Make doors, then `start`; `port` of each is known after that."""

    def __init__(self, upstream_ports: Sequence[int], seed: int) -> None:
        super().__init__(name="fault proxy", daemon=True)
        self.upstream_ports = list(upstream_ports)
        self.rng = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.on_ask: Asks | None = None
        self._loop = asyncio.new_event_loop()
        self._doors: list[Door] = []
        self._servers: list[asyncio.Server] = []
        self.writers: set[asyncio.StreamWriter] = set()  # of all open connections
        self._ready = threading.Event()
        # requests that will be done even if nobody waits for them
        self._under_way: set[asyncio.Task[None]] = set()

    def door(self, faults: Faults = NONE) -> Door:
        """One more port. Before `start`."""
        door = Door(self, faults)
        self._doors.append(door)
        return door

    def start(self) -> None:
        super().start()
        assert self._ready.wait(120), "the proxy did not start"

    def run(self) -> None:
        self._loop.run_until_complete(self._open())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _open(self) -> None:
        for door in self._doors:
            server = await asyncio.start_server(door.serve, _HOST, 0, limit=_LINE_BYTES)
            door.port = server.sockets[0].getsockname()[1]
            self._servers.append(server)

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._under_way:
            task.cancel()
        for writer in self.writers:
            writer.transport.abort()  # a connection that waits for one ends by itself
        if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks)
        for _ in range(3):  # closed connections are gone after one more turn of the loop
            await asyncio.sleep(0)

    def keep(self, task: asyncio.Task[None]) -> None:
        """Called by doors: do this request even if nobody waits for it."""
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def is_quiet(self) -> bool:
        """True if no request that nobody waits for is still on its way."""
        return not self._under_way

    def close(self) -> None:
        """Stop at once, also with requests under way."""
        if self.ident is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self.join(120)


class Door:
    """One port. `faults` may be changed at any time, from any thread; `on_done`: see Seen."""

    def __init__(self, proxy: Proxy, faults: Faults) -> None:
        self.port = 0
        self.faults = faults
        self.on_done: Seen | None = None
        self.requests = 0
        self._proxy = proxy

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client: one request at a time."""
        upstream: _Upstream | None = None
        self._proxy.writers.add(writer)
        try:
            while (request := await _read_request(reader)) is not None:
                upstream = await self._pass_on(request, writer, upstream)
                if upstream is None:
                    return
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            return  # as in a broken network, the client sees its connection closed
        finally:
            self._proxy.writers.discard(writer)
            writer.close()
            if upstream is not None:
                upstream.close()

    async def _pass_on(
        self, request: _Request, writer: asyncio.StreamWriter, upstream: _Upstream | None
    ) -> _Upstream | None:
        """Do the request, perhaps with a fault. None: close the client's connection."""
        rng, counts, faults = self._proxy.rng, self._proxy.counts, self.faults
        fault = self._choose(faults)
        counts[fault or "plain"] += 1
        self.requests += 1
        if fault == "lost_request":
            return None
        if fault == "refused":
            writer.write(_answer(503, "ServiceUnavailable"))
            await writer.drain()
            return upstream or await self._connect()
        if fault == "late":
            # It gets its own connection and task, since it must go on if the client gives up.
            done = asyncio.ensure_future(self._later(request, rng.uniform(0, faults.late_s), writer))
            self._proxy.keep(done)
            await asyncio.wait([done])
            return None
        upstream = upstream or await self._connect()
        answer = await self._ask(upstream, request)
        if self.on_done is not None:
            self.on_done(request.method, request.target)
        if fault == "twice" and request.method in ("PUT", "POST", "DELETE"):
            again = asyncio.ensure_future(self._later(request, rng.uniform(0, faults.twice_s), None))
            self._proxy.keep(again)
        if fault == "lost_answer":
            upstream.close()
            return None
        if fault == "failed":
            answer = _answer(500, "InternalError", has_body=request.method != "HEAD")
        writer.write(answer)
        await writer.drain()
        return upstream

    async def _later(self, request: _Request, wait_s: float, writer: asyncio.StreamWriter | None) -> None:
        await asyncio.sleep(wait_s)
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            upstream = await self._connect()
            try:
                answer = await self._ask(upstream, request)
            finally:
                upstream.close()
            if writer is not None:
                writer.write(answer)
                await writer.drain()

    async def _ask(self, upstream: _Upstream, request: _Request) -> bytes:
        """The answer, which is also reported to `on_done`. Raises the same as _Upstream.ask."""
        answered = self._proxy.on_ask and self._proxy.on_ask(request.method, request.target, request.raw)
        answer = await upstream.ask(request.raw)
        if answered is not None:
            answered(answer)
        return answer

    def _choose(self, faults: Faults) -> str:
        at = self._proxy.rng.random()
        for name in ("lost_answer", "lost_request", "refused", "failed", "late", "twice"):
            at -= getattr(faults, name)
            if at < 0:
                return name
        return ""

    async def _connect(self) -> _Upstream:
        """Connect to any upstream that accepts."""
        ports = self._proxy.upstream_ports
        error: OSError | None = None
        for port in self._proxy.rng.sample(ports, len(ports)):
            try:
                reader, writer = await asyncio.open_connection(_HOST, port, limit=_LINE_BYTES)
            except OSError as err:
                error = err
            else:
                self._proxy.writers.add(writer)
                return _Upstream(reader, writer, self._proxy.writers)
        assert error is not None
        raise error


@dataclass(frozen=True)
class _Request:
    method: str
    target: str
    raw: bytes


async def _read_request(reader: asyncio.StreamReader) -> _Request | None:
    """The next request, whole; None where the client has hung up."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = head.split(b" ", 2)
    fields = _fields(head)
    assert b"transfer-encoding" not in fields, "this proxy takes no chunked requests"
    body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
    return _Request(method.decode(), target.decode(), head + body)


class _Upstream:
    """A connection to the store."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        writers: set[asyncio.StreamWriter],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._writers = writers

    async def ask(self, raw: bytes) -> bytes:
        """The whole answer, as it came. Raises OSError, EOFError, TimeoutError."""
        async with asyncio.timeout(_UPSTREAM_WITHIN_S):
            self._writer.write(raw)
            await self._writer.drain()
            head = await self._reader.readuntil(b"\r\n\r\n")
            while head.split(b" ", 2)[1].startswith(b"1"):
                head = await self._reader.readuntil(b"\r\n\r\n")
            return head + await self._body(head, is_head=raw.startswith(b"HEAD "))

    async def _body(self, head: bytes, *, is_head: bool) -> bytes:
        fields = _fields(head)
        if is_head or head.split(b" ", 2)[1] in (b"204", b"304"):
            return b""
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            pieces: list[bytes] = []
            while True:
                line = await self._reader.readuntil(b"\r\n")
                size = int(line.split(b";")[0], 16)
                pieces += (line, await self._reader.readexactly(size + 2))
                if not size:
                    return b"".join(pieces)
        return await self._reader.readexactly(int(fields.get(b"content-length", b"0")))

    def close(self) -> None:
        self._writers.discard(self._writer)
        self._writer.close()


def _fields(head: bytes) -> dict[bytes, bytes]:
    lines = head.split(b"\r\n")[1:]
    pairs = (line.partition(b":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _answer(status: int, code: str, *, has_body: bool = True) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>A fault of the test.</Message></Error>".encode()
    head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + (body if has_body else b"")
