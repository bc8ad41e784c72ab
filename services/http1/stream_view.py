"""`request.connection.stream`, for code that expects Tornado's: whether it is closed, its TLS certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.http1.connection import Connection


class StreamView:
    """A view of a connection, made when asked for. Reading and writing go through the connection only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def close(self) -> None:
        self._connection.abort()

    def closed(self) -> bool:
        return self._connection.closed()

    def set_nodelay(self, value: bool) -> None:
        """Nothing to do: asyncio and uvloop set TCP_NODELAY for good."""

    @property
    def socket(self) -> Any:
        """What `HTTPServerRequest.get_ssl_certificate` asks: an SSLObject under TLS, else the socket."""
        return self._connection.extra_info("ssl_object") or self._connection.extra_info("socket")
