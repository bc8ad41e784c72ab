"""Who is at the other end of a connection: what handlers know as `request.connection.context`."""

from __future__ import annotations

import socket
from typing import Any

from tornado.httpserver import _HTTPRequestContext


class RequestContext(_HTTPRequestContext):
    """Tornado's context (remote_ip, protocol, the rewriting for `xheaders`), made without an IOStream."""

    def __init__(
        self, family: socket.AddressFamily, address: Any, protocol: str, trusted_downstream: list[str] | None
    ) -> None:
        self.address = address
        self.address_family = family
        is_ip = family in (socket.AF_INET, socket.AF_INET6) and address
        self.remote_ip = address[0] if is_ip else "0.0.0.0"  # as Tornado for unix sockets
        self.protocol = protocol
        self._orig_remote_ip = self.remote_ip
        self._orig_protocol = protocol
        self.trusted_downstream = set(trusted_downstream or ())
