"""The access log: a line a request on stdout, in the combined format with the latency in seconds behind it.

    127.0.0.1 - - [24/Nov/2026:23:00:00 +0000] "GET /store/a HTTP/1.1" 200 5 "-" "curl/8.5" 0.000312

Off by default. Text from clients is escaped as in nginx (`\\x22`), so no line and no field can be forged. A
thread writes the lines (`LineWriter`), so a reader of stdout that hangs delays nobody.
"""

from __future__ import annotations

import logging
import re
import time

from common.line_writer import MAX_WAITING_BYTES, LineWriter, to_descriptor

log = logging.getLogger(__name__)

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UNSAFE = re.compile(r"[^ !#-\[\]-~]")  # all but printable ASCII without the quote and the backslash
_LONGEST_FIELD = 8192
# Whoever has the signature of a link can use the link: of a blob (access.md), or a presigned one of S3.
_SIGNATURE = re.compile(r"([?&](?:X-Amz-S|s)ignature=)[^ &]+")


def escaped(text: str) -> str:
    """`text` fit for a quoted field: one line, ASCII, no quote that ends the field."""
    text = text[:_LONGEST_FIELD]
    if _UNSAFE.search(text) is None:
        return text
    return _UNSAFE.sub(lambda m: "".join(f"\\x{byte:02X}" for byte in _bytes(m[0])), text)


def _bytes(char: str) -> bytes:
    # Header fields and targets come as latin-1: their bytes are what the client sent.
    return char.encode("latin-1") if char < "\u0100" else char.encode("utf-8", "surrogatepass")


class AccessLog:
    """Writes lines to the descriptor `fd`. `tell` is for the event loop; `close` writes what is waiting.

    At most `max_bytes` wait for a slow reader. More are dropped, and the server's log has their number.
    """

    def __init__(self, fd: int = 1, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self._lines = LineWriter(to_descriptor(fd), _told_dropped, max_bytes=max_bytes)
        self._second = -1
        self._time = ""

    @property
    def dropped(self) -> int:
        """How many lines were dropped so far."""
        return self._lines.dropped

    def tell(
        self,
        remote: str,
        user: str,
        request: str,
        status: int,
        bytes_out: int,
        referer: str,
        agent: str,
        seconds: float,
    ) -> None:
        """One request."""
        if "ignature=" in request or "ignature=" in referer:
            request, referer = _SIGNATURE.sub(r"\1***", request), _SIGNATURE.sub(r"\1***", referer)
        now = int(time.time())
        if now != self._second:
            self._second, self._time = now, _clf_time(now)
        who = f"{escaped(remote)} - {escaped(user).replace(' ', '_')}"
        asked = f'"{escaped(request)}" {status} {bytes_out}'
        by = f'"{escaped(referer) or "-"}" "{escaped(agent) or "-"}"'
        self._lines.put(f"{who} [{self._time}] {asked} {by} {seconds:.6f}\n".encode("ascii"))

    def close(self) -> None:
        """Write what is waiting, for at most a second."""
        self._lines.close()


def _told_dropped(count: int, error: str) -> bytes:
    """Report dropped lines in the server's own log: a line in this format could not."""
    log.warning("access log: %d lines dropped: %s", count, error or "its reader is too slow")
    return b""


def _clf_time(now: int) -> str:
    t = time.gmtime(now)
    return f"{t[2]:02d}/{_MONTHS[t[1] - 1]}/{t[0]}:{t[3]:02d}:{t[4]:02d}:{t[5]:02d} +0000"
