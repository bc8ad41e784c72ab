"""Answers plain requests without a handler, and leaves the others to the application.

The base of what takes such requests, and of what answers one of them.
"""

from __future__ import annotations

from abc import abstractmethod

from tornado.httputil import HTTPConnection, HTTPMessageDelegate, HTTPServerConnectionDelegate

from services.http1 import Exchange


class Shortcut(HTTPServerConnectionDelegate):
    """Placed before `app`. Only our own connection has an Exchange: from Tornado's, `app` gets all."""

    def __init__(self, app: HTTPServerConnectionDelegate) -> None:
        self._app = app

    @abstractmethod
    def take(self, exchange: Exchange) -> HTTPMessageDelegate | None:
        """The delegate that answers this request; None if a handler must judge."""

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """See HTTPServerConnectionDelegate."""
        taken = self.take(request_conn) if isinstance(request_conn, Exchange) else None
        return self._app.start_request(server_conn, request_conn) if taken is None else taken

    def on_close(self, server_conn: object) -> None:
        """See HTTPServerConnectionDelegate."""
        self._app.on_close(server_conn)


class WholeRequest(HTTPMessageDelegate):
    """One request, answered in a task once all of it came. It goes on even if the client leaves."""

    _exchange: Exchange
    _body = b""

    def data_received(self, chunk: bytes) -> None:
        """See HTTPMessageDelegate."""
        self._body += chunk

    def finish(self) -> None:
        """See HTTPMessageDelegate."""
        self._task = self._exchange.run(self._answer())

    @abstractmethod
    async def _answer(self) -> None: ...
