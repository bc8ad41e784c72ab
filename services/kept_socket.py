"""The listening socket that supervisord holds, so that it stays open while the server is dead."""

from __future__ import annotations

import errno
import socket
import time
from typing import Any

from common import config

# The processes of a killed supervisord end by themselves: the server drains, and then frees the directory and
# the port. A start waits so long for that.
PATIENCE_S = 20.0
_RETRY_S = 0.1
_BACKLOG = 65535  # the kernel's own limit, net.core.somaxconn, is less


class KeptSocket:
    """A listening socket in the shape of supervisor's SocketConfig: each `create_and_bind` is a duplicate."""

    def __init__(self, listen: str, logger: Any) -> None:
        self.url = f"tcp://{listen}"
        self._kept = _bind_patiently(listen, logger)

    def __str__(self) -> str:
        return self.url

    def get_backlog(self) -> None:
        """None: supervisor's default, the longest that the kernel allows."""
        return

    def create_and_bind(self) -> socket.socket:
        """A descriptor of its own for the caller, who closes it. Of no use after `close`."""
        return self._kept.dup()

    def close(self) -> None:
        """Let go: once the last duplicate is closed, connections are refused."""
        self._kept.close()


def _bind_patiently(listen: str, logger: Any) -> socket.socket:
    """Listen on HOST:PORT, waiting for the address to become free. Raises OSError."""
    host, port = config.host_and_port(listen)
    deadline = time.monotonic() + PATIENCE_S
    told = False
    while True:
        try:
            return bind(host, port)
        except OSError as err:
            if err.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                logger.critical(f"cannot listen on {listen}: {err.strerror}")
                raise
        if not told:
            logger.warn(f"{listen} is in use: waiting up to {PATIENCE_S:g} s for it")
            told = True
        time.sleep(_RETRY_S)


def bind(host: str, port: int) -> socket.socket:
    """A TCP socket that listens on `host`; no host is every address, IPv6 included. Raises OSError.

    A name with several addresses means one of them, of IPv4 if there is one.
    """
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
    found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)
    family, *_, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
