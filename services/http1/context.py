"""What handlers see of their connection: `request.connection.context` and `request.connection.stream`."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from tornado.httpserver import _HTTPRequestContext

if TYPE_CHECKING:
    from services.http1.connection import Connection


class RequestContext(_HTTPRequestContext):
    """Tornado's context (remote_ip, protocol, the rewriting for `xheaders`), made without an IOStream.

    `is_relayed`: another process speaks TLS with the client, and relays between it and us.
    """

    def __init__(
        self,
        family: socket.AddressFamily,
        address: Any,
        protocol: str,
        trusted_downstream: list[str] | None,
        *,
        is_relayed: bool = False,
    ) -> None:
        self.is_relayed = is_relayed
        self.address = address
        self.address_family = family
        is_ip = family in (socket.AF_INET, socket.AF_INET6) and address
        self.remote_ip = address[0] if is_ip else "0.0.0.0"  # as Tornado for unix sockets
        self.protocol = protocol
        self._orig_remote_ip = self.remote_ip
        self._orig_protocol = protocol
        self.trusted_downstream = set(trusted_downstream or ())


class StreamView:
    """For code that expects Tornado's stream: whether it is closed, its TLS certificate.

    Made when it is needed. Only the connection reads and writes.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def close(self) -> None:
        self._connection.abort()

    def closed(self) -> bool:
        return self._connection.closed()

    def set_nodelay(self, value: bool) -> None:
        """Nothing to do: asyncio and uvloop always set TCP_NODELAY."""

    @property
    def socket(self) -> Any:
        """For `HTTPServerRequest.get_ssl_certificate`: an SSLObject under TLS, else the socket."""
        return self._connection.transport.extra_info("ssl_object") or self._connection.transport.extra_info(
            "socket"
        )
