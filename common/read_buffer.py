"""Memory into which one small file after the other is read, with room before it for the head of an answer.

So head and body go out in one call, and no byte of the body is copied. The body begins at a page: to fill
memory that begins at another place can take the kernel three times as long.
"""

from __future__ import annotations

import mmap

ROOM_BYTES = mmap.PAGESIZE  # before the body
# A shorter body is copied, for about 1 µs: while it is unsent it would keep pages of its own, and a mapping,
# of which a process may have 65,530.
_LEAST_BYTES = 16 << 10


class ReadBuffer(mmap.mmap):
    """`body_bytes`: how long the body is that was read last. `is_lent`: somebody still sends from it, so
    nothing may be read into it meanwhile."""

    body_bytes = 0
    is_lent = False

    def in_one(self, head: bytes, body: memoryview) -> bytes | memoryview:
        """`head`, and `body` behind it. Without a copy of `body` where that is long, and all that
        was read last."""
        begin, body_bytes = ROOM_BYTES - len(head), len(body)
        if body_bytes != self.body_bytes or body_bytes < _LEAST_BYTES or begin < 0:
            return head + body
        self[begin:ROOM_BYTES] = head
        return memoryview(self)[begin : ROOM_BYTES + body_bytes]


def read_buffer(most_bytes: int) -> memoryview:
    """A new ReadBuffer (`obj`), for bodies of at most so many bytes; they begin at ROOM_BYTES."""
    return memoryview(ReadBuffer(-1, ROOM_BYTES + most_bytes))
