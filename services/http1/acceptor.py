"""Accepts connections on listening sockets, without spinning when descriptors run out."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

_AT_ONCE = 128  # connections accepted before others get their turn

# The listening socket stays readable, so a loop that tried again at once would do nothing else.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Acceptor:
    """Accepts on one listening socket and gives each connection, non-blocking, to `accepted(sock, address)`.

    When descriptors are used up it waits `pause_s` and logs that once. Clients stay in the system's queue.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        accepted: Callable[[socket.socket, Any], None],
        pause_s: float,
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._accepted = accepted
        self._pause_s = pause_s
        self._exhausted = False
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._resume()

    def stop(self) -> None:
        """Stop accepting and close the listening socket."""
        if self._pause is not None:
            self._pause.cancel()
        else:
            self._loop.remove_reader(self._listener)
        self._listener.close()

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if self._listener.fileno() < 0:  # stopped by what a connection did
                return
            try:
                sock, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as err:
                if err.errno not in _EXHAUSTED:
                    raise
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(self._pause_s, self._resume)
                if not self._exhausted:
                    log.error("cannot accept connections: %s; trying again every %g s", err, self._pause_s)
                self._exhausted = True
                return
            if self._exhausted:
                log.warning("accepting connections again")
                self._exhausted = False
            sock.setblocking(False)
            self._accepted(sock, address)
