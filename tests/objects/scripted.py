"""A store that answers what a test has written down, and the connections of the engine to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from services.engines.objects.connections import Connections, Response
from services.engines.objects.settings import Settings, StoreCredentials

OK = b'HTTP/1.1 200 OK\r\nETag: "e"\r\n'


class Scripted:
    """A store that answers each request with the next of `answers`, in these pieces, and counts connections.
    None: it closes the connection instead.
    """

    def __init__(self, answers: Sequence[Sequence[bytes | None] | None]) -> None:
        self._answers = list(answers)
        self.connections = 0
        self.pieces = 0  # that it has sent
        self.heads: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self._answers:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                _, _, length = head.lower().partition(b"content-length:")
                await reader.readexactly(int(length.split(b"\r\n")[0] or b"0"))
                pieces = self._answers.pop(0)
                if pieces is None:
                    break
                for piece in pieces:
                    if piece is None:
                        return
                    writer.write(piece)
                    await writer.drain()
                    self.pieces += 1
                    await asyncio.sleep(0)
            else:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def run(
    answers: Sequence[Sequence[bytes | None] | None],
    test: Callable[[Connections, Settings, Scripted], Awaitable[None]],
) -> Scripted:
    """Run `test` with connections to a store that gives these answers. Gives the store."""
    store = Scripted(answers)

    async def go() -> None:
        async with await asyncio.start_server(store, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            settings = Settings(
                "b", f"http://127.0.0.1:{port}", credentials=StoreCredentials("a", "s"), patience_s=3
            )
            await test(Connections("127.0.0.1", port, 60.0, 60.0), settings, store)

    asyncio.run(go())
    return store


def whole(body: bytes, *, more: bytes = b"", also: bytes = b"") -> bytes:
    return OK + also + b"Content-Length: %d\r\n\r\n" % len(body) + body + more


async def ask(connections: Connections) -> Response:
    return await connections.ask(b"GET / HTTP/1.1\r\n\r\n", b"")
