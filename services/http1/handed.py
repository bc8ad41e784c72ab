"""What a process says with a connection that it hands over: Exchange.give_up, HTTPServer.adopt."""

from __future__ import annotations

import msgspec


class Handed(msgspec.Struct, frozen=True):
    """`received`: what has come of the client and is not answered.

    `remote_ip`: the client's, where the descriptor leads to the process that hands over, which goes on to
    speak TLS with the client; else empty. `is_one_too_many`: its first answer is its last, and mostly 503.
    """

    received: bytes = b""
    remote_ip: str = ""
    is_one_too_many: bool = False
