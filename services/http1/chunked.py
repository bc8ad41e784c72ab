"""The chunked transfer coding, decoded piece by piece (RFC 9112 section 7.1). Pure."""

from __future__ import annotations

import re

from services.http1.errors import Refusal
from services.http1.limits import Limits
from services.http1.parser import parse_field_lines

# 15 hexadecimal digits: a size that fits 63 bits. Extensions are allowed and ignored.
_size_line = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?").fullmatch


class ChunkedDecoder:
    """Takes the bytes of a chunked body as they come, gives its content, and at the end its `trailers`."""

    __slots__ = (
        *("_expects_line_end", "_extra_bytes", "_in_trailers", "_left", "_limits", "done", "spent"),
        "trailers",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = 0  # bytes of the current chunk that have not come yet
        self._expects_line_end = False  # the CRLF after a chunk's content
        self._in_trailers = False
        self._extra_bytes = 0
        self.done = False
        self.trailers: list[tuple[str, str]] = []  # as they came: name, normalized, and value
        self.spent = False  # `decode` stopped since it had done enough for one turn of the event loop

    def decode(self, data: bytes, at_most: int) -> tuple[bytes, bytes]:
        """The content at the beginning of `data`, at most so many bytes of it, and the rest of `data`.

        Small chunks are joined, so that their number costs the application nothing. After `limits.turn_lines`
        lines it is `spent`: call it again in another turn, since each line costs 3 us, however short it is.
        Otherwise the rest may be an incomplete line: pass it again, with what follows. Raises Refusal (400).
        """
        self.spent = False
        lines_left = self._limits.turn_lines
        pieces: list[bytes] = []
        room = at_most
        at = 0
        while room and not self.done:
            if self._left:
                piece = data[at : at + min(self._left, room)]
                if not piece:
                    break
                pieces.append(piece)
                at += len(piece)
                room -= len(piece)
                self._left -= len(piece)
                self._expects_line_end = not self._left
            elif self._expects_line_end:
                line_end = data[at : at + 2]
                if not b"\r\n".startswith(line_end):
                    raise Refusal(400, "End each chunk with CR LF.", "improperly terminated chunk")
                if len(line_end) < 2:
                    break
                at += 2
                self._expects_line_end = False
            elif not lines_left:
                self.spent = True
                break
            else:
                end = data.find(b"\r\n", at)
                if end - at > self._limits.chunk_line_bytes or (
                    end < 0 and len(data) - at > self._limits.chunk_line_bytes
                ):
                    raise Refusal(400, "Send shorter chunk lines.", "chunk or trailer line too long")
                if end < 0:
                    if data.find(b"\n", at) >= 0:
                        raise Refusal(400, "End each chunk line with CR LF.", "invalid chunk size: bare LF")
                    break
                lines_left -= 1
                self._take_line(data[at:end])
                at = end + 2
        return b"".join(pieces), data[at:]

    def _take_line(self, line: bytes) -> None:
        if self._in_trailers:
            if not line:
                self.done = True
                return
            self._count_extra(len(line))
            fields = parse_field_lines(line + b"\r\n")
            self.trailers += [(name, value) for name, values in fields.items() for value in values]
            return
        match = _size_line(line)
        if match is None:
            raise Refusal(400, "Send hexadecimal chunk sizes.", f"invalid chunk size {line[:40]!r}")
        digits = match[1]
        self._count_extra(len(line) - len(digits))
        self._left = int(digits, 16)
        self._in_trailers = not self._left

    def _count_extra(self, count_bytes: int) -> None:
        self._extra_bytes += count_bytes
        if self._extra_bytes > self._limits.chunk_extra_bytes:
            raise Refusal(
                400, "Send fewer chunk extensions and trailers.", "too many chunk extensions or trailers"
            )
