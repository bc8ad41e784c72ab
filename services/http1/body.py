"""The body of one request while it is read: the rest to come, and its limits in size and time."""

from __future__ import annotations

from services.http1.chunked import ChunkedDecoder
from services.http1.errors import Refusal
from services.http1.limits import Limits
from services.http1.parser import CHUNKED


class BodyDecoder:
    """Takes a body out of the bytes of a connection. Times are those of the loop's clock, in seconds.

    `body_bytes` is the declared length, at least 1, or CHUNKED.
    """

    __slots__ = (
        "_began",
        "_chunks",
        "_heard",
        "_left",
        "_limits",
        "max_bytes",
        "received_bytes",
        "spent",
        "timeout_s",
        "whole",
    )

    def __init__(self, body_bytes: int, limits: Limits, now: float) -> None:
        self._limits = limits
        self._chunks = ChunkedDecoder(limits) if body_bytes == CHUNKED else None
        self._left = body_bytes
        self.received_bytes = 0
        self._began = self._heard = now
        self.max_bytes = limits.body_bytes  # the application may set this one and the next for its request
        self.timeout_s = limits.body_timeout_s
        self.whole = False
        self.spent = False  # the last `take` was enough work for one turn of the event loop

    def check_declared(self) -> None:
        """Raises Refusal (413) if the declared length is too large."""
        if self._left > self.max_bytes:
            self._refuse_size("Content-Length too long")

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """The next piece of content and the rest of `data`. Raises Refusal: 400 for bad chunks, 413.

        An empty piece means that the rest is the beginning of a line, or that the body is `whole` or `spent`.
        """
        if self._chunks is None:
            size = min(self._left, self._limits.piece_bytes)
            if len(data) <= size:
                piece, rest = data, b""
            else:
                piece, rest = data[:size], data[size:]
            self._left -= len(piece)
            self.whole = not self._left
            self.spent = len(piece) >= self._limits.turn_bytes
        else:
            piece, rest = self._chunks.decode(data, self._limits.piece_bytes)
            self.whole = self._chunks.done
            self.spent = self._chunks.spent or len(data) - len(rest) >= self._limits.turn_bytes
        self.received_bytes += len(piece)
        if self.received_bytes > self.max_bytes:
            self._refuse_size("chunked body too large")
        return piece, rest

    def left_bytes(self) -> int:
        """How many bytes are still to be taken; 0 where that is unknown."""
        return self._left if self._chunks is None else 0

    def came(self, size_bytes: int) -> None:
        """So many were received past `take`, at most as many as are left."""
        self._left -= size_bytes
        self.whole = not self._left
        self.spent = size_bytes >= self._limits.turn_bytes
        self.received_bytes += size_bytes

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """The fields that followed a chunked body, once it is whole: (normalized name, value)."""
        return self._chunks.trailers if self._chunks is not None else []

    def ends_within(self, size_bytes: int) -> bool:
        """True if it is known that at most so much is still to be taken."""
        return self.whole or (self._chunks is None and self._left <= size_bytes)

    def heard(self, now: float) -> None:
        """Something came."""
        self._heard = now

    def waited(self, since: float, now: float) -> None:
        """Do not count the time since then: the application caused it, not the client."""
        self._began += now - since
        self._heard = now

    def check_time(self, now: float) -> None:
        """Raises Refusal (408) when the client takes too long."""
        limits = self._limits
        elapsed_s = now - self._began
        if self.timeout_s is not None and elapsed_s > self.timeout_s:
            raise Refusal(408, f"Send the body within {self.timeout_s:g} s.", "Timeout reading body")
        if now - self._heard > limits.body_idle_timeout_s:
            text = f"Send the body without pauses of more than {limits.body_idle_timeout_s:g} s."
            raise Refusal(408, text, "Timeout reading body")
        if (
            elapsed_s > limits.upload_grace_s
            and self.received_bytes < (elapsed_s - limits.upload_grace_s) * limits.min_upload_bytes_per_s
        ):
            text = f"Send the body at {limits.min_upload_bytes_per_s:g} bytes a second or more."
            raise Refusal(408, text, "Timeout reading body: too slow")

    def rate(self, now: float) -> float | None:
        """Bytes a second so far, without the time in which it waited for us; None if it has just begun."""
        elapsed_s = now - self._began
        return self.received_bytes / elapsed_s if elapsed_s > self._limits.give_way_grace_s else None

    def _refuse_size(self, log_text: str) -> None:
        raise Refusal(413, f"Send a body of at most {self.max_bytes} bytes.", log_text)
