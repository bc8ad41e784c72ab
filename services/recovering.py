"""Answers 503 with the progress while a long recovery runs at the start, so that clients know why they wait.

Nearly all recoveries are too short for that: clients that connect meanwhile wait in the queue of the
listening socket, and are served. In a longer one, a separate server answers on duplicates of the sockets
until recovery is done. Each answer is the last of its connection, so that the client's next connection
reaches the real server.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator

from tornado.web import Application, RequestHandler

from common.config import Config
from common.progress import Progress
from services.engine import Engine, OnFatal
from services.listening import make_server
from services.rules.answers import common_fields, error_body, error_fields
from services.store import Store
from services.watch.request_log import RequestLog

PATIENCE_S = 1.0
RETRY_AFTER_S = 1
_LAST_ANSWERS_S = 1.0


class HowFar:
    """How far the recovery is; `tell` is called from its thread."""

    def __init__(self, show: Progress) -> None:
        self._show = show
        self.done = 0
        self.all = 0

    def tell(self, done: int, total: int) -> None:
        """`done` of `total` folders were looked at."""
        self.done, self.all = done, total
        self._show(done, total)

    def __str__(self) -> str:
        of = f" ({self.done} of {self.all} blobs looked at)" if self.all else ""
        return f"The server is recovering after its start{of}: ask again in a moment."


class RecoveringHandler(RequestHandler):
    """Every resource, every method."""

    def initialize(self, how_far: HowFar) -> None:
        self.how_far = how_far

    def prepare(self) -> None:
        """503, Retry-After, and what is going on."""
        self.set_status(503)
        for name, value in (*common_fields(int(time.time())), *error_fields(RETRY_AFTER_S)):
            self.set_header(name, value)
        self.set_header("Cache-Control", "no-store")
        self.set_header("Connection", "close")
        self.finish(error_body(503, str(self.how_far)))


async def open_answering(
    engine: Engine,
    sockets: list[socket.socket],
    config: Config,
    requests: RequestLog,
    tls: ssl.SSLContext | None,
    on_fatal: OnFatal,
    *,
    patience_s: float = PATIENCE_S,
) -> Store:
    """Open the engine, which recovers; answer 503 if it takes long. Raises what opening raises."""
    with Progress("recovery", "folders") as shown:
        how_far = HowFar(shown)
        opening = asyncio.ensure_future(engine.open(how_far.tell, on_fatal))
        if (await asyncio.wait([opening], timeout=patience_s))[0]:
            return opening.result()
        async with _answering(sockets, config, requests, tls, how_far):
            return await opening


@contextlib.asynccontextmanager
async def _answering(
    sockets: list[socket.socket],
    config: Config,
    requests: RequestLog,
    tls: ssl.SSLContext | None,
    how_far: HowFar,
) -> AsyncIterator[None]:
    app = Application(
        default_handler_class=RecoveringHandler,
        default_handler_args={"how_far": how_far},
        log_function=requests.handled,
    )
    server, drain = make_server(app, config, requests, tls)
    server.add_sockets([sock.dup() for sock in sockets])
    try:
        yield
    finally:
        await drain(_LAST_ANSWERS_S)
        await server.close_all_connections()
