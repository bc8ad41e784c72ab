"""Receives the body of a request straight into memory of the application, where its delegate lends some.

While it is the protocol of a transport, the transport asks it where the next bytes are to go. What comes
while there is no such memory goes to the connection, as if there were no receiver.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.http1.plain_transport import READ_BYTES

if TYPE_CHECKING:
    from services.http1.connection import Connection
    from services.http1.request_cycle import RequestCycle


class BodyReceiver(asyncio.BufferedProtocol):
    """In the place of `connection`, for the body of `cycle`."""

    def __init__(self, connection: Connection, cycle: RequestCycle) -> None:
        self._connection = connection
        self._cycle = cycle
        self._into_room = False  # the transport was given memory of the application
        self._other = bytearray(0)

    def get_buffer(self, sizehint: int) -> memoryview | bytearray:
        """See asyncio.BufferedProtocol."""
        room = None if self._connection.pending else self._cycle.room()  # what came first is taken first
        self._into_room = room is not None
        if room is not None:
            return room
        self._other = self._other or bytearray(READ_BYTES)
        return self._other

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""
        if self._into_room:
            self._cycle.received(nbytes)
        else:
            self._connection.data_received(bytes(self._other[:nbytes]))

    def eof_received(self) -> bool:
        """See asyncio.BufferedProtocol."""
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self._connection.resume_writing()
