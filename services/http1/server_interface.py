"""What a connection needs of its server, and the heads of requests that were answered at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from tornado.httputil import HTTPConnection, HTTPMessageDelegate

from services.http1.context import RequestContext
from services.http1.limits import Limits
from services.http1.parser import RequestHead
from services.http1.steady_cache import SteadyCache
from services.http1.together import Together

if TYPE_CHECKING:
    from services.http1.connection import Connection
    from services.http1.transport import ClientTransport

_MAX_BYTES = 4 << 20
_ENTRY_BYTES = 400  # what a head costs beside its bytes, which are there three times; a third more at most
KNOWN_BYTES = 512

Answer = tuple[bytes, bytes | memoryview]
"""A whole answer: its head, to the empty line, and its body. See HTTPServer.quick_answer. A memoryview is of
memory that is used again (BodyMemory): it is sent in this turn of the loop, or lent."""

QuickAnswer = Callable[[RequestHead, RequestContext], Answer | None]
"""See HTTPServer.quick_answer."""


class KnownHeads(SteadyCache[bytes, RequestHead]):
    """Heads of requests that were answered at once, by their bytes: clients repeat themselves."""

    def __init__(self) -> None:
        super().__init__(_MAX_BYTES, lambda data, head: 3 * len(data) + _ENTRY_BYTES)


class Server(Protocol):
    """See HTTPServer, which is one."""

    limits: Limits
    draining: bool
    clock: Callable[[], float]  # seconds; the loop's, unless a test has another
    done: asyncio.Future[None]  # one that is done: what a write returns when nothing has to wait
    known_heads: KnownHeads
    together: Together
    quick_answer: QuickAnswer | None

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate: ...
    def opened(self, connection: Connection) -> None: ...
    def on_close(self, server_conn: object) -> None: ...
    def relayed(self, transport: ClientTransport) -> None: ...
    def spares(self, head: RequestHead) -> bool: ...
    def body_began(self, connection: Connection) -> None: ...
    def body_ended(self, connection: Connection) -> None: ...
    def tell_refused(self, method: str, target: str, code: int, context: object) -> None: ...
