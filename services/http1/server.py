"""The server: Tornado's HTTPServer with our connections instead of IOStreams."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import ssl
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

import tornado.httpserver
from tornado.http1connection import _GzipMessageDelegate
from tornado.httputil import (
    HTTPConnection,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    HTTPServerRequest,
)
from tornado.ioloop import IOLoop
from tornado.log import gen_log
from tornado.netutil import ssl_options_to_context

from services.http1.acceptor import Acceptor
from services.http1.connection import Connection
from services.http1.context import RequestContext
from services.http1.handed import Handed
from services.http1.limits import Limits
from services.http1.parser import RequestHead
from services.http1.server_interface import KnownHeads, QuickAnswer
from services.http1.sweep import Sweep
from services.http1.together import Together
from services.http1.transport import ClientTransport
from services.http1.turns import ReadyAnswers, Turns

_ACCEPTED_HERE = Handed()
_ON_ITS_WAY_S = 0.1  # between a connection, or an answer, and the request that follows
# The error of OpenSSL for a first record that is not TLS, but the beginning of an HTTP request.
_NOT_TLS = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER"})


class HTTPServer(tornado.httpserver.HTTPServer):
    """`HTTPServer(application_or_delegate, limits=Limits(...), ssl_options=...)`, then as Tornado's.

    `listen`, `bind`/`start`, `add_sockets`, `stop` and `close_all_connections` mean what they mean there, and
    Tornado's options are understood where they have a meaning here. `drain` is new.
    """

    limits: Limits
    draining: bool
    done: asyncio.Future[None]
    clock: Callable[[], float]
    # Called with method, target (both empty where no head was read), status and remote address for each
    # answer that a connection gives by itself, the application having said nothing.
    on_refused: Callable[[str, str, int, str], None] | None = None
    # Called with each request that has no body, on connections that stay open; what it returns is sent as it
    # is, and no delegate is made. It must not wait, and must not give a body to HEAD.
    quick_answer: QuickAnswer | None = None
    # Asked of the first request of each connection that is one too many. True: it is answered all the same.
    spared: Callable[[RequestHead], bool] | None = None

    def initialize(
        self,
        request_callback: HTTPServerConnectionDelegate | Callable[[HTTPServerRequest], None],
        no_keep_alive: bool = False,
        xheaders: bool = False,
        ssl_options: dict[str, Any] | ssl.SSLContext | None = None,
        protocol: str | None = None,
        decompress_request: bool = False,
        chunk_size: int | None = None,
        max_header_size: int | None = None,
        idle_connection_timeout: float | None = None,
        body_timeout: float | None = None,
        max_body_size: int | None = None,
        max_buffer_size: int | None = None,
        trusted_downstream: list[str] | None = None,
        *,
        limits: Limits | None = None,
    ) -> None:
        super().initialize(
            request_callback,
            xheaders=xheaders,
            ssl_options=ssl_options,
            protocol=protocol,
            trusted_downstream=trusted_downstream,
        )
        given: dict[str, Any] = {
            "piece_bytes": chunk_size,
            "head_bytes": max_header_size,
            "idle_timeout_s": idle_connection_timeout,
            "body_timeout_s": body_timeout,
            "body_bytes": max_buffer_size if max_body_size is None else max_body_size,
        }
        self.limits = dataclasses.replace(
            limits or Limits(), **{name: value for name, value in given.items() if value is not None}
        )
        self.draining = no_keep_alive  # each answer is the last of its connection
        self._tls = None if ssl_options is None else ssl_options_to_context(ssl_options, server_side=True)
        self._decompress = decompress_request
        # The application, where nothing stands between it and a request.
        self._asks_directly: HTTPServerConnectionDelegate | None = None
        if isinstance(request_callback, HTTPServerConnectionDelegate):
            self._asks_directly = None if xheaders or decompress_request else request_callback
        self._acceptors: dict[socket.socket, Acceptor] = {}
        self._open: set[Connection] = set()
        self._connecting: set[asyncio.Task[Any]] = set()  # in the TLS handshake
        self._admitted: set[Connection] = set()  # open or connecting, and not one too many
        self._refusing: set[Connection] = set()  # connections too many, those in the TLS handshake included
        # Those that are not told to go; longest there first.
        self._refused: dict[Connection, asyncio.Task[Any]] = {}
        self._receiving: set[Connection] = set()  # bodies that did not come with their heads
        self._relayed: set[ClientTransport] = set()  # clients of others, with whom we speak TLS
        self.known_heads = KnownHeads()
        self.together = Together()
        self._turns: Turns | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections on these listening sockets."""
        loop = self._the_loop()
        for sock in sockets:
            self._acceptors[sock] = Acceptor(loop, sock, self._accepted, self.limits.accept_pause_s)

    def stop(self) -> None:
        """Stop accepting and close the listening sockets. Connections go on."""
        for acceptor in self._acceptors.values():
            acceptor.stop()
        self._acceptors.clear()

    async def drain(self, timeout_s: float) -> bool:
        """Stop accepting, close idle connections, and let requests in progress finish, for at most so long.

        True when all are finished; `close_all_connections` cuts the rest. A client that has just connected,
        or got an answer, may have sent a request already: it is answered. A client that has its last answer
        and does not close its side is waited for `limits.drain_linger_s`. It has the answer when its system
        has taken it: bytes in our system are lost after a reset, or when a container's network ends with us.
        """
        self.stop()
        self.draining = True
        end = self._the_loop().time() + timeout_s
        served_at = None  # since when all requests have been answered, and the answers taken
        while self._open or self._connecting or self._relays():
            now = self._the_loop().time()
            for connection in list(self._open):
                connection.close_if_idle(self._sweep.time() - _ON_ITS_WAY_S)
            if (
                self._connecting
                or self._relays()
                or any(not one.closed() or one.transport.untaken_bytes for one in self._open)
            ):
                served_at = None
            elif now - (served_at := served_at or now) >= self.limits.drain_linger_s:
                return True
            if now >= end:
                return False
            await asyncio.sleep(0.01)
        return True

    def answer_from(self, answers: ReadyAnswers) -> None:
        """Answer requests on new plain connections from `ready` first, before anything else is tried.

        Raises OSError where no descriptor is left.
        """
        self._turns = Turns(self._the_loop(), answers)

    async def close_all_connections(self) -> None:
        """Cut all connections; done when they are closed and the application has been told."""
        for task in self._connecting:
            task.cancel()
        while self._open or self._connecting:
            for connection in list(self._open):
                connection.abort()
            await asyncio.sleep(0)
        if self._turns is not None:
            self._turns.close()
            self._turns = None

    # For connections.

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        if self._asks_directly is not None:  # the path of each request
            return self._asks_directly.start_request(server_conn, request_conn)
        delegate = super().start_request(server_conn, request_conn)
        if self._decompress:
            delegate = _GzipMessageDelegate(delegate, self.limits.piece_bytes, self.limits.body_bytes)
        return delegate

    def opened(self, connection: Connection) -> None:
        """A connection is there."""
        self._open.add(connection)
        self._sweep.start()

    def on_close(self, server_conn: object) -> None:
        """A connection is gone."""
        connection = cast(Connection, server_conn)
        self._open.discard(connection)
        self._receiving.discard(connection)
        self._forget(connection)
        if not self._open and not self._relays():
            self._sweep.stop()
        if isinstance(self.request_callback, HTTPServerConnectionDelegate):
            self.request_callback.on_close(server_conn)

    def relayed(self, transport: ClientTransport) -> None:
        """The data of this client is relayed to and from another process (Exchange.give_up)."""
        self._relays()
        self._relayed.add(transport)
        self._sweep.start()

    def _relays(self) -> bool:
        if self._relayed:
            self._relayed = {one for one in self._relayed if not one.is_closing()}
        return bool(self._relayed)

    def spares(self, head: RequestHead) -> bool:
        """Whether a request is answered though its connection is one too many."""
        return self.spared is not None and self.spared(head)

    def body_began(self, connection: Connection) -> None:
        """A body is to be received. If many are already, the slowest is refused for it.

        Otherwise clients that send a head and then nothing would keep all others out until their time is up,
        which is long, since `upload_grace_s` allows a slow beginning.
        """
        if len(self._receiving) >= self.limits.many_bodies:
            now = self.clock()
            rates = [(rate, one) for one in self._receiving if (rate := one.body_rate(now)) is not None]
            slowest = min(rates, key=lambda pair: pair[0], default=None)
            if slowest is not None and slowest[0] < self.limits.min_upload_bytes_per_s:
                slowest[1].give_way()
        self._receiving.add(connection)

    def body_ended(self, connection: Connection) -> None:
        """The body came completely, or what still comes of it is dropped."""
        self._receiving.discard(connection)

    def tell_refused(self, method: str, target: str, code: int, context: object) -> None:
        """A connection answered without the application."""
        if self.on_refused is not None:
            self.on_refused(method, target, code, getattr(context, "remote_ip", "-"))

    def check_time(self) -> None:
        """Check the time of all connections: no timer has to be set for each request."""
        now = self.clock()
        for connection in list(self._open):
            connection.check_time(now)
        for transport in self._relayed:
            transport.check_taken(now)
        if not self._open and not self._relays():
            self._sweep.stop()

    def adopt(self, sock: socket.socket, handed: Handed) -> None:
        """Serve a connection that another process accepted."""
        if handed.remote_ip:
            family = socket.AF_INET6 if ":" in handed.remote_ip else socket.AF_INET
            self._begin(sock, family, (handed.remote_ip, 0), None, handed)
            return
        try:
            address = sock.getpeername()
        except OSError:  # the client is gone
            sock.close()
            return
        self._begin(sock, socket.AddressFamily(sock.family), address, None, handed)

    def _accepted(self, sock: socket.socket, address: Any) -> None:
        self._begin(sock, socket.AddressFamily(sock.family), address, self._tls)

    def _begin(
        self,
        sock: socket.socket,
        family: socket.AddressFamily,
        address: Any,
        tls: ssl.SSLContext | None,
        handed: Handed = _ACCEPTED_HERE,
    ) -> None:
        """Serve a connection. `tls`: None where it speaks plain HTTP with us."""
        limits = self.limits
        refused = handed.is_one_too_many or len(self._admitted) >= limits.max_connections
        if refused and len(self._refusing) >= limits.max_refusing and not self._refuse_no_more():
            sock.close()
            return
        context = RequestContext(
            family,
            address,
            self.protocol or ("https" if self._tls else "http"),
            self.trusted_downstream,
            is_relayed=bool(handed.remote_ip),
        )
        connection = Connection(self, context, refused=refused)
        connection.pending = handed.received
        if not refused:
            self._admitted.add(connection)
        if self._turns is not None and tls is None and not refused:
            self._turns.serve(sock, connection)
        else:
            self._connect(sock, connection, tls)

    def _refuse_no_more(self) -> bool:
        """Close the oldest of the refused connections; False if there is none.

        The newest stays, since its request may be one that is answered all the same. A connection in its TLS
        handshake is closed like others: else many of those would keep all new ones out.
        """
        oldest = next(iter(self._refused), None)
        if oldest is None:
            return False
        handshake = self._refused.pop(oldest)
        if oldest in self._open:
            oldest.abort()
        else:
            handshake.cancel()
        return True

    def _forget(self, connection: Connection) -> None:
        self._admitted.discard(connection)
        self._refusing.discard(connection)
        self._refused.pop(connection, None)

    def _connect(
        self, sock: socket.socket, connection: Connection, tls: ssl.SSLContext | None
    ) -> asyncio.Task[Any]:
        """Make `sock` the transport of `connection`, over TLS once its handshake is done."""
        limits = self.limits
        patience_s = limits.refused_head_timeout_s if connection.refused else limits.header_timeout_s
        plain = None if tls is None else _duplicate(sock)
        task = self._the_loop().create_task(
            self._the_loop().connect_accepted_socket(
                lambda: connection, sock, ssl=tls, ssl_handshake_timeout=patience_s if tls else None
            )
        )
        self._connecting.add(task)
        if connection.refused:
            self._refusing.add(connection)
            self._refused[connection] = task
        task.add_done_callback(partial(self._connected, sock, plain, connection))
        return task

    def _connected(
        self,
        sock: socket.socket,
        plain: socket.socket | None,
        connection: Connection,
        task: asyncio.Task[Any],
    ) -> None:
        """The handshake is over. `plain`: another descriptor of the same connection, where TLS was tried."""
        self._connecting.discard(task)
        err = asyncio.CancelledError() if task.cancelled() else task.exception()
        if err is not None:
            self._forget(connection)
            sock.close()
            if connection in self._open:  # told to go while it began, of which uvloop tells no end
                connection.abort()
                connection.transport.raw.set_protocol(asyncio.Protocol())  # asyncio tells: once is enough
                connection.connection_lost(None)
        if isinstance(err, ssl.SSLError) and err.reason in _NOT_TLS and plain is not None:
            # OpenSSL has taken what came, and has sent nothing.
            again = Connection(self, connection.context, refused=connection.refused)
            if not again.refused:
                self._admitted.add(again)
            self._connect(plain, again, None).add_done_callback(lambda _: self._refuse_plain_text(again))
            return
        if plain is not None:
            plain.close()
        if isinstance(err, ssl.SSLError):
            gen_log.warning("SSL Error on %s: %s", connection.context, err)
        elif err is not None and not isinstance(err, OSError | asyncio.CancelledError):  # time-outs: OSErrors
            gen_log.error("Uncaught exception", exc_info=err)

    def _refuse_plain_text(self, connection: Connection) -> None:
        if connection in self._open:
            connection.refuse_plain_text()

    def _the_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of IOLoop.current(), which need not run yet."""
        if self._loop is None:
            self._loop = IOLoop.current().asyncio_loop  # type: ignore[attr-defined]
            self.done = self._loop.create_future()
            self.done.set_result(None)
            self._sweep = Sweep(self._loop, self.limits.tick_s(), self.check_time)
            self.clock = self._sweep.time
        return self._loop


def _duplicate(sock: socket.socket) -> socket.socket | None:
    """Another descriptor of the same connection; None where there is none left."""
    try:
        return sock.dup()
    except OSError:
        return None
