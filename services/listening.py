"""The listening side of the server: its sockets, TLS, and which HTTP connection class serves them."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
from collections.abc import Awaitable, Callable

import tornado.httpserver
from tornado.httputil import HTTPServerConnectionDelegate
from tornado.netutil import bind_sockets

from common.config import host_and_port
from common.options import Config
from services import http1
from services.watch.request_log import RequestLog

_BACKLOG = 1024
# Unsent bytes below which a client gets its next piece (128 KiB): less than a piece, so slow clients hold
# only one.
_UNSENT_BYTES = 64 << 10
_NO_LIMIT = 1 << 62  # of bodies: the store has its own, per upload

_FIRST_OF_SYSTEMD = 3  # sd_listen_fds(3): the first descriptor that a socket unit passes on


def listening_sockets(config: Config) -> list[socket.socket]:
    """The sockets that systemd passed on, or the one that supervisord gave us as descriptor 0, or our own.

    Raises OSError.
    """
    if given_by_systemd := _sockets_of_systemd():
        return given_by_systemd
    if stat.S_ISSOCK(os.fstat(0).st_mode):
        given = socket.socket(fileno=os.dup(0))
        if given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            given.setblocking(False)
            return [given]
    return listening_on(config.listen)


def listening_on(address: str) -> list[socket.socket]:
    """Sockets of our own on HOST:PORT. Raises OSError."""
    host, port = host_and_port(address)
    return bind_sockets(port, host or None, backlog=_BACKLOG)


def _sockets_of_systemd() -> list[socket.socket]:
    """What a socket unit passed on to this very process (LISTEN_PID, LISTEN_FDS); empty where none did."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    given = [socket.socket(fileno=os.dup(_FIRST_OF_SYSTEMD + number)) for number in range(count)]
    for sock in given:
        sock.setblocking(False)
    return given


Drain = Callable[[float], Awaitable[bool]]
"""Stops accepting and waits, at most so many seconds, for requests under way; False if some are not done."""


def make_server(
    app: HTTPServerConnectionDelegate,
    config: Config,
    requests: RequestLog,
    tls: ssl.SSLContext | None,
    quick_answer: http1.QuickAnswer | None = None,
) -> tuple[tornado.httpserver.HTTPServer, Drain]:
    """The HTTP server for `app`, as `http` in the configuration says, and how to drain it.

    Tornado's own server asks `app` alone, and gives no quick answers.
    """
    if config.http == "blobkeep":
        server = make_own_server(app, config, requests, tls, quick_answer)
        return server, server.drain
    stock = tornado.httpserver.HTTPServer(
        app,
        ssl_options=tls,
        idle_connection_timeout=config.idle_timeout_s,
        max_header_size=config.max_header_bytes,
        max_body_size=_NO_LIMIT,
    )

    async def drain(timeout_s: float) -> bool:
        """Drain Tornado's server. It does not know which connections are idle: each is closed when it is."""
        stock.stop()
        end = asyncio.get_running_loop().time() + timeout_s
        while stock._connections and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 - once in a life
            await asyncio.sleep(0.01)
        return not stock._connections

    return stock, drain


def make_own_server(
    app: HTTPServerConnectionDelegate,
    config: Config,
    requests: RequestLog,
    tls: ssl.SSLContext | None,
    quick_answer: http1.QuickAnswer | None,
) -> http1.HTTPServer:
    """Our own HTTP server for `app`: of the server, and of each reader process."""
    server = http1.HTTPServer(app, limits=_limits(config), ssl_options=tls)
    server.on_refused = requests.refused
    server.spared = _is_vital
    server.quick_answer = quick_answer
    return server


def _is_vital(head: http1.RequestHead) -> bool:
    """Whether it is answered even if all connections are in use: a supervisor must not take us for dead."""
    return head.start_line.path == "/healthz"


def _limits(config: Config) -> http1.Limits:
    return http1.Limits(
        target_bytes=config.max_target_bytes,
        head_bytes=config.max_header_bytes,
        body_bytes=_NO_LIMIT,
        write_buffer_bytes=_UNSENT_BYTES,
        header_timeout_s=config.header_timeout_s,
        idle_timeout_s=config.idle_timeout_s,
        body_idle_timeout_s=config.body_timeout_s,
        upload_grace_s=config.min_upload_grace_s,
        min_upload_bytes_per_s=float(config.min_upload_rate_bytes_per_s),
        write_idle_timeout_s=config.send_timeout_s,
        max_connections=config.max_connections,
        many_bodies=config.max_uploads,
    )
